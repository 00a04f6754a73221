//! What is counted of a build, and what condemns it.

use super::*;
use crate::model::Detail;

fn detail(code: &str) -> Detail {
    Detail { code: code.to_owned(), message: String::new() }
}

fn fault(code: &str) -> Fault {
    Fault::Permanent(detail(code))
}

/// A call that ended so, where the breaker let it through.
fn end(meter: &Meter, n_items: usize, fault: Option<&Fault>) {
    if let Ok(count) = meter.begin(n_items) {
        count.end(fault);
    }
}

fn on_trial(kind: Kind, before: Counts) -> Meter {
    let meter = Meter::new("words".to_owned(), kind);
    meter.put_on_trial(before);
    meter
}

fn before(items: u64, failed: u64) -> Counts {
    Counts { calls: items / 10, items, failed, busy: Duration::from_micros(items * 10), ..Counts::default() }
}

#[test]
fn three_of_few_items_that_fail_condemn_a_build_and_two_do_not() {
    let meter = on_trial(Kind::Analyzer, Counts::default());
    for n in 0..3 {
        assert_eq!(meter.condemned(), None, "{n}");
        end(&meter, 1, Some(&fault("trap")));
    }
    assert_eq!(meter.condemned(), Some("it failed at 3 of 3 items"));
    meter.acquit();
    end(&meter, 1, Some(&fault("trap")));
    assert_eq!(meter.condemned(), None);
}

#[test]
fn a_build_is_allowed_what_the_one_before_did_too() {
    let fails = |meter: &Meter| {
        for n in 0..100 {
            end(meter, 1, (n % 10 == 9).then(|| fault("cpu")).as_ref());
        }
        meter.condemned().is_some()
    };
    assert!(fails(&on_trial(Kind::Rule, before(1000, 0))), "one of ten fails");
    assert!(!fails(&on_trial(Kind::Rule, before(1000, 40))));
}

#[test]
fn one_item_that_fails_whoever_it_is_asked_with_is_one_item() {
    let meter = on_trial(Kind::Analyzer, before(1000, 0));
    for n_items in [64, 32, 16, 8, 4, 2, 1] {
        end(&meter, n_items, Some(&fault("trap")));
        end(&meter, n_items, None);
    }
    let counts = meter.counts();
    assert_eq!((meter.condemned(), counts.failed, counts.items), (None, 1, 128));
}

#[test]
fn what_is_late_is_one_failure_however_many_it_was_asked_about() {
    let meter = on_trial(Kind::Analyzer, before(1000, 0));
    end(&meter, 64, Some(&Fault::Transient(detail("timeout"))));
    drop(meter.begin(64));
    assert_eq!((meter.condemned(), meter.counts().failed_maybe), (None, 2));
}

#[test]
fn one_event_that_a_rule_refuses_is_one_failure_however_often_it_is_asked_about() {
    let (late, meter) = (Fault::Transient(detail("busy")), on_trial(Kind::Rule, before(1000, 0)));
    for _ in 0..5 {
        [8, 4, 2].into_iter().for_each(|n_items| end(&meter, n_items, Some(&late)));
        if let Ok(count) = meter.begin(About::one(7)) {
            count.end(Some(&late));
        }
    }
    assert_eq!((meter.condemned(), meter.counts().failed_maybe), (None, 1));
    [8, 9].into_iter().for_each(|item| drop(meter.begin(About::one(item))));
    assert!(meter.condemned().is_some(), "three of them are enough");
}

#[test]
fn a_trial_goes_on_under_another_configuration_with_what_is_known() {
    let (first, second, third) =
        (on_trial(Kind::Analyzer, before(1000, 0)), Meter::new("a".to_owned(), Kind::Analyzer), Meter::new("b".to_owned(), Kind::Analyzer));
    second.go_on_from(&first);
    second.ran(Duration::from_millis(30), Duration::ZERO, u64::MAX);
    (0..30).for_each(|_| end(&second, 10, None));
    let why = second.condemned().map(str::to_owned);
    assert!(why.as_ref().is_some_and(|why| why.contains("times as long")), "{why:?}");
    third.go_on_from(&second);
    assert_eq!(third.condemned().map(str::to_owned), why);
}

#[test]
fn what_a_network_refuses_or_delays_is_not_its_connector_s_fault() {
    let (connector, analyzer) = (on_trial(Kind::Connector, Counts::default()), on_trial(Kind::Analyzer, Counts::default()));
    for meter in [&connector, &analyzer] {
        (0..10).for_each(|_| end(meter, 1, Some(&fault("busy"))));
        (0..10).for_each(|_| drop(meter.begin(1)));
    }
    assert_eq!((connector.condemned(), analyzer.condemned().is_some()), (None, true));
    let asking = Meter::new("words".to_owned(), Kind::Analyzer).calling_out(true);
    asking.put_on_trial(Counts::default());
    (0..10).for_each(|_| end(&asking, 1, Some(&fault("busy"))));
    assert_eq!(asking.condemned(), None, "an analyzer that asks others, likewise");
    (0..20).for_each(|_| end(&connector, 1, Some(&fault("trap"))));
    assert!(connector.condemned().is_some());
}

#[test]
fn a_slower_build_is_condemned_once_enough_is_known_of_calls_that_are_alike() {
    let judged = |kind: Kind, us: u64, n_items: usize| {
        let meter = on_trial(kind, before(1000, 0));
        for n in 0..300 / n_items {
            assert!(meter.condemned().is_none() || n * n_items > 200);
            meter.ran(Duration::from_micros(us * n_items as u64), Duration::ZERO, u64::MAX);
            end(&meter, n_items, None);
        }
        meter.condemned().map(str::to_owned)
    };
    assert_eq!(judged(Kind::Analyzer, 50, 10).as_deref(), Some("it takes 5.0 times as long as the build before"));
    assert_eq!(judged(Kind::Analyzer, 20, 10), None, "twice as long is the admin's to judge");
    assert!(judged(Kind::Analyzer, 50, 30).is_some(), "items pile up behind a slow build");
    assert_eq!(judged(Kind::Analyzer, 50, 1), None, "calls about one item each take longer");
    assert_eq!(judged(Kind::Connector, 50, 10), None, "a network may have become slower");
}

#[test]
fn what_fails_item_after_item_is_left_alone_and_what_is_halved_is_not_counted_thrice() {
    let meter = Meter::new("words".to_owned(), Kind::Analyzer);
    [64, 32, 16, 8, 4, 2].into_iter().for_each(|n_items| end(&meter, n_items, Some(&fault("cpu"))));
    assert_eq!(meter.usage().breaker, BreakerState::Closed, "the item at fault was not found yet");
    (0..3).for_each(|_| end(&meter, 1, Some(&fault("cpu"))));
    let refused = meter.begin(1).err().expect("it is left alone");
    assert!(matches!(&refused, Fault::RateLimited(detail, 1..=1000) if detail.code == Fault::BREAKER), "{refused}");
    let usage = meter.usage();
    assert_eq!((usage.calls, usage.faults), (9, Faults { cpu: 9, ..Faults::default() }), "a call that was not made is not counted");
}

#[test]
fn a_connector_is_left_alone_for_what_it_costs_and_not_for_what_its_network_sends() {
    let meter = Meter::new("shop".to_owned(), Kind::Connector);
    for code in ["trap", "timeout", "busy", "contract", "stopped"] {
        (0..4).for_each(|_| end(&meter, 1, Some(&fault(code))));
        assert_eq!(meter.usage().breaker, BreakerState::Closed, "{code}");
    }
    (0..3).for_each(|_| end(&meter, 1, Some(&fault("memory"))));
    assert!(matches!(meter.usage().breaker, BreakerState::Open(_)));
}

#[test]
fn time_that_was_waited_for_others_is_no_processor_time() {
    let meter = Meter::new("shop".to_owned(), Kind::Connector);
    meter.ran(Duration::from_millis(900), Duration::from_millis(880), 4);
    meter.ran(Duration::from_millis(900), Duration::ZERO, 0);
    [1 << 20, 3 << 20, 2 << 20].into_iter().for_each(|bytes| meter.holds(bytes));
    let usage = meter.usage();
    assert_eq!(
        (usage.cpu, usage.waited, usage.memory_peak),
        (Duration::from_millis(25), Duration::from_millis(880), 3 << 20),
        "nor is time in which another had the core"
    );
}

#[test]
fn what_a_plugin_is_granted_follows_what_its_answered_calls_took_and_is_inherited() {
    let meter = Meter::new("words".to_owned(), Kind::Analyzer);
    assert_eq!(meter.ticks_granted(), GRANTED_MIN);
    meter.answered_within(40);
    assert_eq!(meter.ticks_granted(), 160);
    meter.answered_within(0);
    assert_eq!(meter.ticks_granted(), 140, "one short call does not undo it");
    let next = Meter::new("words".to_owned(), Kind::Analyzer);
    next.put_on_trial(meter.counts());
    assert_eq!(next.ticks_granted(), 140);
    (0..40).for_each(|_| meter.answered_within(0));
    assert_eq!(meter.ticks_granted(), GRANTED_MIN);
}
