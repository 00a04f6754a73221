//! kill -9 at any moment: nothing acknowledged is lost, nothing is stored twice.

use std::collections::BTreeMap;

use membrana_world::{Dress, call};

use crate::harness::{Host, text};
use crate::hooks::{CONFIG, TABLE, shop};

/// More by hand: `MEMBRANA_KILLS=200`.
const KILLS: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_acknowledged_and_store_nothing_twice() {
    let n_kills = std::env::var("MEMBRANA_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let mut host = Host::new(CONFIG, TABLE);
    let (mut accepted, mut n) = (Vec::new(), 0);
    for round in 0..n_kills {
        host.start().await;
        let shop = shop(&host);
        // Each round ends after another number of webhooks, so that each kill meets another moment.
        for _ in 0..(1 + round * 7 % 23) {
            n += 1;
            let (first, second) = (n, n + 100_000);
            let (a, b) = (format!("{{\"id\":\"o{first}\",\"note\":\"x\"}}"), format!("{{\"id\":\"o{second}\"}}"));
            let (ids, again) = ((format!("e{first}"), format!("e{second}")), shop.clone());
            let (one, two) = tokio::join!(shop.post(&ids.0, Dress::Right, &a), again.post(&ids.1, Dress::Right, &b));
            accepted.extend(one.is_ok_and(|answer| answer.status == 202).then(|| format!("o{first}")));
            accepted.extend(two.is_ok_and(|answer| answer.status == 202).then(|| format!("o{second}")));
        }
        host.kill();
    }
    host.start().await;
    let all = host.until(&["interaction", "list"], |all| all.len() >= accepted.len()).await;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    all.iter().for_each(|one| *counts.entry(text(one, "/native/id")).or_default() += 1);
    assert!(accepted.len() > n_kills, "only {} were accepted", accepted.len());
    for id in &accepted {
        assert_eq!(counts.get(id.as_str()), Some(&1), "{id}");
    }
    host.until(&["interaction", "list"], |all| all.iter().all(|one| text(one, "/decisions/0/row") == "check-in")).await;
    let tasks = host.list(&["task", "list"]);
    assert_eq!(tasks.len(), all.len(), "one task each");
    assert_eq!(call(host.address, "GET", "/healthz", &[], b"").await.unwrap().status, 200);
    host.stop();
    let verified = host.cli(&["verify", "--json"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
