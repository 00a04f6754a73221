//! What a guest does while it is called: processor, memory, data that is none, its own state.

use super::*;

/// Enough to make the data that the host then refuses to copy.
const RICH: Limits = Limits { memory_bytes: 512 << 20, cpu: Duration::from_secs(20), wall: Duration::from_secs(60), ..LIMITS };

/// What is asked for and what comes of it: twice the same, for the second call finds a fresh instance.
async fn each_gets(cases: &[(&str, Limits, &str, &str)]) {
    let yard = Yard::new().await;
    for (case, limits, code, says) in cases {
        let mad = yard.load(mode(case), *limits, None).await;
        for _ in 0..2 {
            let answer = yard.ask(&mad, "fine").await;
            assert!(answer.as_ref().is_err_and(|fault| is_permanent(fault, code, says)), "{case}: {answer:?}");
        }
        drop(mad);
        yard.is_whole(case).await;
    }
    yard.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processor_time_is_stopped_at_its_budget() {
    each_gets(&[
        ("loop", LIMITS, "cpu", "200 ms"),
        ("bulk", LIMITS, "cpu", "200 ms"),
        ("tiny-calls", LIMITS, "cpu", "200 ms"),
        ("recursion", LIMITS, "trap", "call stack exhausted"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_far_longer_than_usual_gives_way_and_those_beside_it_do_not() {
    let yard = Yard::new().await;
    let mad = yard.load(mode("loop"), LIMITS, None).await;
    yard.ask(&mad, "anything").await.unwrap_err();
    assert_eq!((mad.usage().gave_way, yard.good.usage().gave_way), (1, 0));
    drop(mad);
    yard.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_refused_at_its_limit() {
    each_gets(&[("memory", LIMITS, "memory", "16 MiB")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_too_much_or_none_is_an_error_and_is_not_copied() {
    const TOO_MUCH: &str = "too much data";
    each_gets(&[
        ("million-lists", RICH, "trap", TOO_MUCH),
        ("million-annotations", RICH, "trap", TOO_MUCH),
        ("aliased-strings", RICH, "trap", TOO_MUCH),
        ("claimed-string", LIMITS, "trap", "out of bounds"),
        ("wild-pointer", LIMITS, "trap", "out of bounds"),
        ("wrong-utf8", LIMITS, "trap", "utf-8"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_have_an_end() {
    each_gets(&[("handles", LIMITS, "trap", "table has no free keys"), ("pollables", LIMITS, "trap", "table has no free keys")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_ends_itself_ends_alone() {
    each_gets(&[("trap", LIMITS, "trap", "unreachable"), ("exit", LIMITS, "trap", "exit")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sleeps_for_ever_is_late() {
    let yard = Yard::new().await;
    let limits = Limits { wall: Duration::from_secs(1), ..LIMITS };
    let mad = yard.load(mode("sleep"), limits, None).await;
    let answer = yard.ask(&mad, "fine").await;
    assert!(matches!(&answer, Err(Fault::Transient(why)) if why.code == "timeout"), "{answer:?}");
    drop(mad);
    yard.is_whole("sleep").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_calls_out_while_it_is_called_into_loses_its_instance_alone() {
    let yard = Yard::new().await;
    let mad = yard.load(mode("re-enter"), LIMITS, None).await;
    for _ in 0..2 {
        assert!(yard.ask(&mad, "fine").await.is_ok(), "a fresh instance answers");
        let answer = yard.ask(&mad, "fine").await;
        assert!(answer.as_ref().is_err_and(|fault| is_permanent(fault, "trap", "cannot leave component instance")), "{answer:?}");
    }
    drop(mad);
    yard.is_whole("re-enter").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_that_nobody_waits_for_any_more_leave_nothing() {
    let yard = Yard::new().await;
    let mad = yard.load(mode("calls"), LIMITS, None).await;
    for n in 0..1000 {
        // Some end before the guest runs, some in its midst.
        let patience = Duration::from_micros(n % 4 * 500);
        assert!(tokio::time::timeout(patience, ask(&mad, "sleep")).await.is_err(), "nobody wakes");
    }
    let answer = yard.ask(&mad, "fine").await.unwrap();
    assert_eq!(answer[0][0].value, membrana::model::Value::Number(1.0), "a fresh instance answers");
    drop(mad);
    yard.is_whole("dropped calls").await;
    yard.close().await;
}
