//! The examples are right: `check` has nothing to say against them.

use std::path::Path;
use std::process::Command;

#[test]
fn the_configuration_for_real_accounts_passes_the_check() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/acme/membrana.toml");
    let secret = crate::harness::SECRET;
    let mut check = Command::new(env!("CARGO_BIN_EXE_membrana-under-test"));
    check.arg("--config").arg(&file).arg("check");
    for name in ["MAIL_PASSWORD", "MASTO_TOKEN", "SHOP_SECRET", "CRM_SECRET"] {
        check.env(name, secret);
    }
    let output = check.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("error:") && !said.contains("warning:"), "{said}");
}
