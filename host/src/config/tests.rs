//! Every mistake is told with its place and its cure, all at once.

use std::path::Path;

use super::{Config, DEFAULT, DEFAULT_TABLE, Report, read, read_what_is_there};

fn check(text: &str) -> Result<(Config, Report), Report> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("impact.toml"), DEFAULT_TABLE).unwrap();
    let file = dir.path().join("membrana.toml");
    std::fs::write(&file, text).unwrap();
    read(&file, &|name| (name == "SET").then(|| "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()))
}

#[test]
fn the_file_that_init_writes_is_right() {
    let (config, report) = check(DEFAULT).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(config.channels[0].plugin.plugin, "feed");
    assert_eq!(config.rules[0].plugin.config["table"], DEFAULT_TABLE);
}

/// Text, a part of the first message, a part of its cure, line and column.
const MISTAKES: [(&str, &str, &str, u32, u32); 35] = [
    ("[host]\nlisten = \"nowhere\"\n", "not an address", "127.0.0.1:7700", 2, 10),
    ("[host]\nlisten = \"0.0.0.0:7700\"\n", "others can reach", "admin_token", 2, 10),
    ("[host]\nhooks_listen = \"127.0.0.1:7700\"\n", "the port is taken", "a port of their own", 2, 16),
    ("[host]\nhooks_listen = \"0.0.0.0:7700\"\n", "the port is taken", "a port of their own", 2, 16),
    ("[host]\nhooks_listen = \"[::]:7700\"\n", "the port is taken", "a port of their own", 2, 16),
    ("[host]\npublic_url = \"https://a.example/?b\"\n", "no path can stand", "without `?` and `#`", 2, 14),
    ("[host]\npublic_url = \"https://a.example/#b\"\n", "no path can stand", "without `?` and `#`", 2, 14),
    ("host = { data = \"perché\", listen = \"nowhere\" }\n", "not an address", "127.0.0.1:7700", 1, 36),
    ("[host]\nlistn = \"x\"\n", "no key `listn`", "did you mean `listen`?", 2, 1),
    ("[host]\nraw_keep = \"3 days\"\n", "not a duration", "\"1d\"", 2, 12),
    ("[host]\nadmin_token = \"hunter2\"\n", "written out here", "env", 2, 15),
    ("[host]\nadmin_token = { env = \"UNSET\" }\n", "UNSET is not set", "export UNSET", 2, 23),
    ("[host\n", "", "toml.io", 1, 6),
    ("[[chanel]]\n", "no key `chanel`", "did you mean `channel`?", 1, 3),
    ("[[channel]]\nplugin = \"feed\"\n", "no `name`", "name =", 1, 1),
    ("[[channel]]\nname = \"a\"\n", "no `plugin`", "plugin =", 1, 1),
    ("[[channel]]\nname = \"A b\"\nplugin = \"feed\"\n", "is no name", "a-z", 2, 8),
    ("[[channel]]\nname = \"a\"\nplugin = \"feed\"\n[[rule]]\nname = \"a\"\nplugin = \"x\"\n", "is taken", "unique", 5, 8),
    ("[[channel]]\nname = \"a\"\nplugin = \"feed\"\npoll = \"1ms\"\n", "1 ms", "1s", 4, 8),
    ("[[channel]]\nname = \"a\"\nplugin = \"feed\"\ngrant = { http = [\"a.example\"] }\n", "cannot be granted", "https://", 4, 19),
    ("[[channel]]\nname = \"a\"\nplugin = \"feed\"\ngrant = { net = [\"a.example\"] }\n", "cannot be granted", "host:port", 4, 18),
    ("[[channel]]\nname = \"a\"\nplugin = \"feed\"\ngrant = { private = [\"10/8\"] }\n", "no range", "10.0.0.0/8", 4, 22),
    ("[[channel]]\nname = \"a\"\nplugin = \"x\"\ningress = { verify = \"standard-webhook\" }\n", "no scheme", "did you mean", 4, 22),
    ("[[channel]]\nname = \"a\"\nplugin = \"x\"\ningress = { verify = \"linkdin\" }\n", "no scheme", "did you mean \"linkedin\"?", 4, 22),
    ("[[channel]]\nname = \"a\"\nplugin = \"x\"\ningress = { verify = \"hmac\" }\n", "no scheme", "websub, zammad, twilio", 4, 22),
    ("[[channel]]\nname = \"a\"\nplugin = \"x\"\ningress = { verfy = \"x\" }\n", "no key `verfy`", "did you mean `verify`?", 4, 13),
    ("[[channel]]\nname = \"a\"\nplugin = \"x\"\ningress = \"x\"\n", "`ingress` is", "verify =", 4, 11),
    ("[[channel]]\nname = \"a\"\nplugin = \"x\"\ningress = { verify = \"websub\", topics = \"x\" }\n", "not a list", "topics", 4, 41),
    ("[[channel]]\nname = \"a\"\nplugin = \"x\"\nconfig = { t_file = \"gone.toml\" }\n", "cannot read", "relative to", 4, 21),
    ("[[channel]]\nname = \"a\"\nplugin = \"x\"\nmedia = true\n", "`media` is true or false", "keep =", 4, 9),
    ("[[channel]]\nname = \"a\"\nplugin = \"x\"\nmedia = { keep = \"a month\" }\n", "not a duration", "\"1d\"", 4, 18),
    ("[[channel]]\nname = \"a\"\nplugin = \"x\"\nmedia = { file_bytes = 33554433 }\n", "33554433", "33554432", 4, 24),
    ("[[analyzer]]\nname = \"a\"\nplugin = \"x\"\nafter = [\"b\"]\n", "does not exist", "there are: a", 4, 10),
    ("[[sink]]\nname = \"crm\"\nurl = \"x\"\nsecret = { env = \"SET\" }\n", "not a URL", "https://", 3, 7),
    (
        "[[sink]]\nname = \"crm\"\nurl = \"https://a.example\"\nsecret = { env = \"SET\" }\nevents = [\"task.open\"]\n",
        "no event",
        "task.opened",
        5,
        11,
    ),
];

#[test]
fn each_mistake_has_its_place_and_its_cure() {
    for (text, message, cure, line, column) in MISTAKES {
        let report = check(text).unwrap_err();
        let found = report.findings.iter().find(|f| f.message.contains(message) && f.cure.contains(cure) && f.place.line == line);
        let found = found.unwrap_or_else(|| panic!("{text}\nwanted `{message}` at line {line}, got:\n{report}"));
        assert_eq!(found.place.column, column, "{text}\n{report}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let all: String = "[host]\nlistn = 1\n[[channel]]\nname = \"A\"\npoll = 5\n[[sink]]\nurl = 1\n".to_owned();
    let report = check(&all).unwrap_err();
    assert!(report.findings.len() >= 5, "{report}");
    assert!(report.findings.is_sorted_by_key(|f| f.place.line), "{report}");
}

#[test]
fn a_whole_number_is_read_however_it_is_written() {
    let budget =
        |written: &str| check(&format!("[[channel]]\nname = \"a\"\nplugin = \"feed\"\nbudget = {{ calls = {written}, money = {written} }}\n"));
    for (written, number) in [("16", 16), ("0x10", 16), ("0xFF", 255), ("0o17", 15), ("0b101", 5), ("1_000", 1000)] {
        let (config, _) = budget(written).unwrap();
        let budget = config.channels[0].plugin.budget;
        assert_eq!((budget.calls, budget.money.map(|money| money.to_string())), (Some(number), Some(number.to_string())), "{written}");
    }
    for (written, message) in
        [("-5", "`calls` is -5"), ("0", "`calls` is 0"), ("99999999999999999999", "larger than any number"), ("1.5", "not a whole")]
    {
        let report = budget(written).unwrap_err();
        assert!(report.findings.iter().any(|finding| finding.message.contains(message)), "{written}: {report}");
    }
}

#[test]
fn more_analyzers_than_the_store_can_number_are_refused() {
    let all: String = (0..256).map(|n| format!("[[analyzer]]\nname = \"a{n}\"\nplugin = \"language\"\n")).collect();
    let report = check(&all).unwrap_err();
    assert!(report.findings.iter().any(|f| f.message.contains("256 analyzers, of at most 255") && f.place.line == 255 * 3 + 1), "{report}");
}

#[test]
fn a_secret_is_never_shown() {
    let (config, _) = check("[host]\nadmin_token = { env = \"SET\" }\n").unwrap();
    assert!(!format!("{config:?}").contains("whsec_"));
}

/// Mutations of the file that `init` writes, with every line in use. `MEMBRANA_TOMLS` says how many.
const MUTATED: u32 = 3000;

/// A file that is refused gives no configuration, so that nothing of it is applied.
#[test]
#[expect(clippy::disallowed_methods, reason = "how long a test goes on is set by the environment")]
fn however_a_file_is_mutated_it_is_read_or_refused_with_line_and_column() {
    let n_mutated = std::env::var("MEMBRANA_TOMLS").ok().and_then(|n| n.parse().ok()).unwrap_or(MUTATED);
    let whole: String = DEFAULT.lines().flat_map(|line| [in_use(line), "\n"]).collect();
    let words: Vec<&str> = whole.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let (dir, mut dice, mut n_refused) = (tempfile::tempdir().unwrap(), Dice(7), 0);
    std::fs::write(dir.path().join("impact.toml"), DEFAULT_TABLE).unwrap();
    let file = dir.path().join("membrana.toml");
    for n in 0..n_mutated {
        let text = mutated(&words, &mut dice);
        std::fs::write(&file, &text).unwrap();
        let Err(report) = read(&file, &|_| Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned())) else { continue };
        n_refused += 1;
        let n_lines = u32::try_from(text.split('\n').count()).unwrap();
        for finding in &report.findings {
            let place = &finding.place;
            let is_placed = (1..=n_lines).contains(&place.line) && place.column > 0 || place.file != file;
            assert!(is_placed && !finding.message.is_empty() && !finding.cure.is_empty(), "mutation {n}: {report}\n{text}");
        }
    }
    assert!(n_refused > n_mutated / 2, "{n_refused} of {n_mutated}: what is mutated is mostly wrong");
}

/// A line that stands there as a comment, without its mark.
fn in_use(line: &str) -> &str {
    line.strip_prefix("# ").filter(|line| line.contains(" = ") || line.starts_with("[[")).unwrap_or(line)
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

const VALUES: [&str; 12] = ["true", "0", "-1e999", "\"\"", "[]", "{}", "1979-05-27", "'''", "\0", "è", "[host]\n", "name"];
const SIGNS: &[u8] = b"\"[]{}=#a0\n.'\\";

/// A few words or signs are other than they were.
fn mutated(words: &[&str], dice: &mut Dice) -> String {
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    for _ in 0..=dice.below(3) {
        let (at, other) = (dice.below(words.len()), dice.below(words.len()));
        match dice.below(6) {
            0 => words.swap(at, other),
            1 if words.len() > 1 => drop(words.remove(at)),
            2 => words.insert(at, words[other].clone()),
            3 => words[at] = VALUES[dice.below(VALUES.len())].to_owned(),
            4 => words.truncate(at.max(1)),
            _ => words[at].push(char::from(SIGNS[dice.below(SIGNS.len())])),
        }
    }
    words.concat()
}

/// Whole reports: each `golden/NAME.toml` has its `golden/NAME.err`.
#[test]
fn each_golden_file_is_reported_word_for_word() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/golden");
    let mut files: Vec<_> = std::fs::read_dir(&golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for file in files {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("impact.toml", DEFAULT_TABLE), ("empty", " \n"), ("garbage.pem", "no certificate")] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let here = dir.path().join("membrana.toml");
        std::fs::copy(&file, &here).unwrap();
        let env = |name: &str| match name {
            "SET" => Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
            "SHORT" => Some("whsec_MfKQ".to_owned()),
            "BLANK" => Some("  ".to_owned()),
            _ => None,
        };
        let told = read_what_is_there(&here, &env).1.to_string().replace(&format!("{}/", dir.path().display()), "");
        if std::fs::read_to_string(file.with_extension("err")).unwrap_or_default() != told {
            wrong.push(format!("{} should be:\n{told}", file.with_extension("err").display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn beside_a_mistake_everything_else_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("membrana.toml");
    let text = "[host]\nadmin_token = { env = \"UNSET\" }\nlisten = \n[[channel]]\nname = \"a\"\nplugin = \"feed\"\n[[team]]\nname = \"x\"\n";
    std::fs::write(&file, text).unwrap();
    let (config, report) = read_what_is_there(&file, &|_| None);
    let config = config.unwrap();
    assert_eq!((config.channels.len(), config.channels[0].plugin.is_whole, config.teams.len()), (1, true, 1), "{report}");
    assert_eq!(report.findings.len(), 2, "{report}");
}
