//! Each decision word for word, and every course that an action can take with a network that plays every trick.

use std::collections::HashSet;

use super::*;
use crate::model::{ActionId, ChannelName, ConversationId, Detail, ExchangeId, InteractionId, NativeId, Seq, Wanted};

const NOW: Timestamp = Timestamp(1_000_000_000);
const BUILD: Digest = Digest([7; 32]);
const OTHER_BUILD: Digest = Digest([8; 32]);
const HOUR: Duration = Duration::from_secs(3600);

fn action(state: ActionState) -> Action {
    Action {
        id: ActionId([1; 16]),
        channel: ChannelName::from("forum"),
        interaction: InteractionId([2; 16]),
        seq: Seq(1),
        conversation: ConversationId([3; 16]),
        exchange: ExchangeId([4; 16]),
        exchange_version: 5,
        identity: None,
        rule: "impact".to_owned(),
        wanted: Wanted { key: "reply".to_owned(), kind: "reply".to_owned(), body: "{}".to_owned() },
        text: "grazie".to_owned(),
        is_edited: false,
        is_automatic: true,
        review: Vec::new(),
        state,
        revision: 10,
        attempts: 0,
        due: NOW,
        created: NOW,
        native: None,
        error: Some("before".to_owned()),
        digest: None,
    }
}

fn tried(state: ActionState, attempts: u32) -> Action {
    Action { attempts, digest: Some(BUILD), ..action(state) }
}

fn detail(code: &str) -> Detail {
    Detail { code: code.to_owned(), message: "as the test says".to_owned() }
}

fn content() -> Interaction {
    serde_json::from_value(serde_json::json!({
        "native": { "scope": "s", "id": "1" }, "aka": [], "kind": "post", "visibility": "public", "author": null, "ours": "No", "automated": "No",
        "conversation": null, "reply_context": null, "parent": null, "refs": [], "subject": null, "text": "?", "quoted": null, "language": null,
        "url": null, "attachments": [], "place": null, "side": null, "campaign": null, "occurred": NOW.0, "edited": null, "attrs": [],
    }))
    .unwrap()
}

fn receipt() -> Receipt {
    Receipt { native: NativeId { scope: "s".to_owned(), id: "post-1".to_owned() }, aka: Vec::new() }
}

fn before(content: Option<&Interaction>) -> Before<'_> {
    Before { content, is_gone: false, version: 5, n_automatic: 2, n_automatic_max: 3 }
}

#[test]
fn what_nothing_speaks_against_is_claimed_with_one_more_attempt_and_the_build() {
    let content = content();
    for state in [ActionState::Pending, ActionState::Retry] {
        assert_eq!(may_claim(&action(state), &before(Some(&content)), &ReplyTerms::default(), NOW), Ok(&content));
    }
    let (decided, now) = (action(ActionState::Retry).created, NOW.plus(HOUR));
    let claim = claimed(action(ActionState::Retry), BUILD, now);
    assert_eq!((claim.state, claim.revision, claim.attempts, claim.digest), (ActionState::Claimed, 11, 1, Some(BUILD)));
    // What is surely not out there is dated anew, and what may be stays as it went out.
    assert_eq!((claim.created, claimed(action(ActionState::Unknown), BUILD, now).created), (now, decided));
}

#[test]
fn each_reason_against_a_claim_has_its_own_end() {
    let (content, action) = (content(), action(ActionState::Pending));
    let judged = |before: Before<'_>, terms: ReplyTerms| may_claim(&action, &before, &terms, NOW.plus(HOUR)).unwrap_err();
    let whole = || before(Some(&content));
    assert_eq!(judged(Before { version: 6, ..whole() }, ReplyTerms::default()), Outcome::AskAgain);
    let capped = judged(Before { n_automatic: 3, ..whole() }, ReplyTerms::default());
    assert_eq!(capped, Outcome::Draft("3 automatic replies in the last hour: this one waits for a person".to_owned()));
    let gone = judged(Before { is_gone: true, ..whole() }, ReplyTerms::default());
    assert_eq!(gone, over(ActionState::Withdrawn, "what it answers is gone"));
    assert_eq!(judged(before(None), ReplyTerms::default()), over(ActionState::Dead, "what it answers cannot be read"));
    let long = judged(whole(), ReplyTerms { max_len: Some(5), ..ReplyTerms::default() });
    assert_eq!(long, Outcome::Draft("the text has 6 characters, and this network takes 5".to_owned()));
    let late = judged(whole(), ReplyTerms { window_s: Some(3600), ..ReplyTerms::default() });
    assert_eq!(late, over(ActionState::Expired, "this network takes a reply within 1 h only"));
}

#[test]
fn what_a_backup_left_in_doubt_is_looked_for_and_then_a_person_s_once() {
    let restored = NOW.plus(Duration::from_secs(9));
    let (content, in_doubt) = (content(), action(ActionState::Pending).in_doubt(restored));
    assert_eq!((in_doubt.state, in_doubt.revision, in_doubt.due, in_doubt.is_in_doubt()), (ActionState::Unknown, 11, restored, true));
    assert!(in_doubt.error.as_ref().is_some_and(|why| why.contains("a backup was put in place")), "{:?}", in_doubt.error);
    for class in [SendClass::ClientId, SendClass::Key(HOUR), SendClass::ReadBack, SendClass::None] {
        assert_eq!(search(&in_doubt, class, BUILD, NOW), Ok(Search::Probe), "{class:?}: no build knows what it would repeat");
    }
    let absent = after_probe(&in_doubt, Ok((Sent::No, None))).applied(in_doubt, NOW);
    let held = may_claim(&absent, &before(Some(&content)), &ReplyTerms::default(), NOW).unwrap_err().applied(absent, NOW);
    assert_eq!((held.state, held.is_automatic, held.is_in_doubt()), (ActionState::AwaitingApproval, false, false));
    let approved = Action { state: ActionState::Pending, ..held };
    assert!(may_claim(&approved, &before(Some(&content)), &ReplyTerms::default(), NOW).is_ok(), "it goes out once a person says so");
}

#[test]
fn only_what_was_never_claimed_is_asked_again_and_only_what_is_automatic_is_capped() {
    let content = content();
    let moved = Before { version: 6, n_automatic: 9, ..before(Some(&content)) };
    assert!(may_claim(&action(ActionState::Retry), &moved, &ReplyTerms::default(), NOW).is_ok());
    let by_hand = Action { is_automatic: false, ..action(ActionState::Pending) };
    let many = Before { n_automatic: 9, ..before(Some(&content)) };
    assert!(may_claim(&by_hand, &many, &ReplyTerms::default(), NOW).is_ok());
}

#[test]
fn an_outcome_leaves_the_action_as_it_says_one_revision_on() {
    let start = || tried(ActionState::Claimed, 3);
    let asked = Outcome::AskAgain.applied(start(), NOW);
    assert_eq!(asked, Action { due: NOW.plus(Duration::from_secs(30)), revision: 11, ..start() });
    assert_eq!(Outcome::AskAgain.fact(&asked), Some(Fact::ExchangeMoved { action: start().id }));
    let draft = Outcome::Draft("why".to_owned());
    let left = draft.applied(start(), NOW);
    let error = Some("why".to_owned());
    assert_eq!(left, Action { state: ActionState::AwaitingApproval, is_automatic: false, revision: 11, error: error.clone(), ..start() });
    assert_eq!(draft.fact(&left), None);
    let again = |why| Outcome::Again { state: ActionState::Retry, wait: HOUR, attempts: 2, why, hold: None };
    let left = again(error.clone()).applied(start(), NOW);
    assert_eq!(left, Action { state: ActionState::Retry, due: NOW.plus(HOUR), attempts: 2, revision: 11, error: error.clone(), ..start() });
    assert_eq!((again(None).applied(start(), NOW).error, again(None).fact(&left)), (start().error, None));
    let settled = Outcome::Settled(ActionState::Unknown, "why".to_owned(), HOUR);
    let left = settled.applied(Action { native: Some(receipt().native), ..start() }, NOW);
    assert_eq!(left, Action { state: ActionState::Unknown, due: NOW.plus(HOUR), revision: 11, error, ..start() });
    assert_eq!(settled.fact(&left), Some(Fact::ActionSettled { action: start().id, state: ActionState::Unknown, native: None }));
    let sent = Outcome::Sent(Some(receipt()));
    let left = sent.applied(Action { due: Timestamp(0), ..start() }, NOW);
    let native = Some(receipt().native);
    assert_eq!(left, Action { state: ActionState::Sent, revision: 11, error: None, native: native.clone(), ..start() });
    assert_eq!(sent.fact(&left), Some(Fact::ActionSettled { action: start().id, state: ActionState::Sent, native }));
}

/// State, wait, attempts, hold.
type Again = (ActionState, Duration, u32, Option<HoldFor>);

fn again(outcome: Outcome) -> Again {
    let Outcome::Again { state, wait, attempts, why: Some(_), hold } = outcome else { panic!("{outcome:?} is not again, with a reason") };
    (state, wait, attempts, hold)
}

#[test]
fn who_asks_to_wait_holds_the_channel_and_no_attempt_is_counted() {
    let refused = |fault: Fault| again(after_refusal(&tried(ActionState::Claimed, 3), false, SendClass::ReadBack, &fault));
    let hold = |wait, is_for_credential| Some(HoldFor { wait, is_for_credential });
    let (minute, five) = (Duration::from_secs(60), Duration::from_secs(5));
    assert_eq!(refused(Fault::Auth(detail("x"))), (ActionState::Retry, Duration::ZERO, 2, hold(minute, true)));
    assert_eq!(refused(Fault::Config(detail("x"))), (ActionState::Retry, five, 2, hold(minute, false)));
    let limited = |ms| refused(Fault::RateLimited(detail("x"), ms));
    assert_eq!(limited(7000), (ActionState::Retry, five, 2, hold(Duration::from_secs(7), false)));
    assert_eq!(limited(1).3, hold(five, false), "no network is asked again at once");
    assert_eq!(limited(u64::MAX).3, hold(Duration::from_secs(86_400), false), "nor left alone for ever");
    let item = refused(Fault::RateLimited(detail(Fault::ITEM_LATER), 7000));
    assert_eq!(item, (ActionState::Retry, Duration::from_secs(7), 2, None), "one recipient's greylisting holds nobody else");
}

#[test]
fn what_time_may_mend_is_tried_eight_times_at_doubling_distances() {
    let refused = |attempts| after_refusal(&tried(ActionState::Claimed, attempts), false, SendClass::None, &Fault::Transient(detail("x")));
    for (attempts, wait_s) in [(1, 5), (2, 10), (3, 20), (7, 320)] {
        assert_eq!(again(refused(attempts)), (ActionState::Retry, Duration::from_secs(wait_s), attempts, None));
    }
    assert_eq!(refused(8), over(ActionState::Dead, "transient (x): as the test says"));
    assert_eq!(doubled(RETRY_MIN, 40), HOUR, "an hour is the longest");
}

#[test]
fn what_is_refused_for_good_is_dead_unless_an_earlier_send_may_be_out_there() {
    for fault in [Fault::Permanent(detail("x")), Fault::Unsupported(detail("x"))] {
        let refused = |may_be_out| after_refusal(&tried(ActionState::Claimed, 1), may_be_out, SendClass::ClientId, &fault);
        assert_eq!(refused(false), over(ActionState::Dead, &fault.to_string()));
        assert_eq!(refused(true), over(ActionState::Human, &fault.to_string()));
    }
    let later = after_refusal(&tried(ActionState::Claimed, 1), true, SendClass::ClientId, &Fault::Transient(detail("x")));
    assert_eq!(again(later).0, ActionState::Reconciling, "a refused repeat says nothing of the first send");
}

#[test]
fn a_call_that_was_cut_off_is_unknown_and_is_looked_at_when_the_network_can_tell() {
    for code in LOST {
        let unknown = after_refusal(&tried(ActionState::Claimed, 1), false, SendClass::ClientId, &Fault::Permanent(detail(code)));
        assert_eq!(unknown, Outcome::Settled(ActionState::Unknown, format!("permanent ({code}): as the test says"), REPEAT_MIN));
    }
    let crashed = |class, attempts| after_crash(&tried(ActionState::Claimed, attempts), class);
    let unknown = |wait_s| Outcome::Settled(ActionState::Unknown, "the host ended during the call".to_owned(), Duration::from_secs(wait_s));
    for (class, first_s) in [(SendClass::ClientId, 2), (SendClass::Key(HOUR), 2), (SendClass::ReadBack, 30), (SendClass::None, 30)] {
        assert_eq!((crashed(class, 1), crashed(class, 3)), (unknown(first_s), unknown(first_s * 4)));
    }
}

#[test]
fn a_repeat_is_only_for_the_same_post_of_the_same_build_within_the_network_s_memory() {
    let to_person = |why| Err(over(ActionState::Human, why));
    let sought = |class, later| search(&tried(ActionState::Unknown, 1), class, BUILD, NOW.plus(later));
    assert_eq!(sought(SendClass::ClientId, HOUR * 1000), Ok(Search::Repeat));
    assert_eq!(sought(SendClass::Key(HOUR), HOUR / 2 - Duration::from_millis(1)), Ok(Search::Repeat));
    assert_eq!(sought(SendClass::Key(HOUR), HOUR / 2), Ok(Search::Probe));
    let of_tomorrow = Action { created: NOW.plus(HOUR), ..tried(ActionState::Unknown, 1) };
    assert_eq!(search(&of_tomorrow, SendClass::Key(HOUR), BUILD, NOW), Ok(Search::Probe), "the clock was put back");
    assert_eq!(sought(SendClass::ReadBack, Duration::ZERO), Ok(Search::Probe));
    assert_eq!(sought(SendClass::None, Duration::ZERO), to_person("it may have gone out, and this network cannot tell"));
    for class in [SendClass::ClientId, SendClass::Key(HOUR), SendClass::ReadBack, SendClass::None] {
        assert_eq!(search(&tried(ActionState::Unknown, 1), class, OTHER_BUILD, NOW), Ok(Search::Probe), "{class:?}, by another build");
    }
    let of_no_build = Action { digest: None, ..tried(ActionState::Unknown, 7) };
    assert_eq!(search(&of_no_build, SendClass::ClientId, BUILD, NOW), Ok(Search::Repeat));
    let worn_out = tried(ActionState::Unknown, 8);
    assert_eq!(search(&worn_out, SendClass::ClientId, BUILD, NOW), to_person("no clear answer after many tries"));
    assert_eq!(search(&worn_out, SendClass::ReadBack, BUILD, NOW), Ok(Search::Probe), "looking is bounded by itself");
}

#[test]
fn what_a_probe_says_is_believed_and_what_it_cannot_say_is_a_person_s() {
    let probed = |attempts, found| after_probe(&tried(ActionState::Unknown, attempts), found);
    assert_eq!(probed(1, Ok((Sent::Yes, Some(receipt())))), Outcome::Sent(Some(receipt())));
    assert_eq!(probed(1, Ok((Sent::Yes, None))), Outcome::Sent(None));
    let absent = Outcome::Again { state: ActionState::Retry, wait: Duration::ZERO, attempts: 1, why: None, hold: None };
    assert_eq!(probed(1, Ok((Sent::No, None))), absent);
    assert_eq!(probed(1, Ok((Sent::Unknown, None))), over(ActionState::Human, "it may have gone out; the network does not tell"));
    let hold = Some(HoldFor { wait: HELD_WAIT, is_for_credential: true });
    assert_eq!(again(probed(9, Err(Fault::Auth(detail("x"))))), (ActionState::Reconciling, Duration::ZERO, 9, hold));
    let later = |attempts| again(probed(attempts, Err(Fault::Transient(detail("x")))));
    assert_eq!(later(1), (ActionState::Reconciling, Duration::from_secs(60), 2, None));
    assert_eq!(later(7), (ActionState::Reconciling, HOUR, 8, None));
    assert_eq!(probed(8, Err(Fault::Transient(detail("x")))), over(ActionState::Human, "transient (x): as the test says"));
    assert_eq!(probed(1, Err(Fault::Permanent(detail("x")))), over(ActionState::Human, "permanent (x): as the test says"));
}

#[test]
fn each_state_is_open_under_way_or_over_and_is_looked_at_when_something_is_to_be_done() {
    use ActionState::*;
    for state in ActionState::ALL {
        let action = Action { due: NOW, ..action(state) };
        let (is_open, is_under_way) = (matches!(state, AwaitingApproval | Pending), matches!(state, Claimed | Retry | Unknown | Reconciling | Human));
        assert_eq!((state.is_open(), state.is_under_way()), (is_open, is_under_way), "{state:?}");
        assert_eq!(action.is_on_its_way(), is_under_way || state == Pending, "{state:?}");
        let look = match state {
            Claimed => Some(Timestamp(0)),
            Pending | Retry | Unknown | Reconciling => Some(NOW),
            _ => None,
        };
        assert_eq!(action.next_look(), look, "{state:?}");
        assert_eq!(serde_json::to_value(state).unwrap(), state.word(), "one word in the store and for people");
    }
}

#[test]
fn a_text_is_named_by_sixteen_digits_that_no_other_text_has() {
    let named = |text: &str| Action { text: text.to_owned(), ..action(ActionState::Pending) }.fingerprint();
    assert!(named("a").len() == 16 && named("a").bytes().all(|byte| byte.is_ascii_hexdigit()) && named("a") != named("b"));
    assert_eq!(named("a"), named("a"));
}

/// An action, what the network has of it, and what lies behind.
#[derive(Clone)]
struct Course {
    action: Action,
    n_posts: u32,
    now: Timestamp,
    build: Digest,
    path: Vec<&'static str>,
}

/// What the host hears of a call; nothing where it crashed.
type Heard = Option<Result<Receipt, Fault>>;

/// What can happen to one call: what is heard, and whether the network takes what it does not have yet.
fn answers() -> [(&'static str, Heard, bool); 9] {
    [
        ("crash before", None, false),
        ("crash after", None, true),
        ("lost before", Some(Err(Fault::Transient(detail("timeout")))), false),
        ("lost after", Some(Err(Fault::Permanent(detail(Fault::OUTCOME_UNKNOWN)))), true),
        ("down", Some(Err(Fault::Transient(detail("x")))), false),
        ("limit", Some(Err(Fault::RateLimited(detail("x"), 1000))), false),
        ("login", Some(Err(Fault::Auth(detail("x")))), false),
        ("no", Some(Err(Fault::Permanent(detail("x")))), false),
        ("taken", Some(Ok(receipt())), true),
    ]
}

impl Course {
    fn after(&self, name: &'static str, action: Action) -> Self {
        let path = self.path.iter().copied().chain([name]).collect();
        Self { now: action.due.max(self.now), action, path, ..self.clone() }
    }

    /// Every way on from here; none where the action is over.
    fn ways(&self, class: SendClass) -> Vec<Self> {
        match self.action.state {
            ActionState::Pending | ActionState::Retry => self.calls(class),
            ActionState::Claimed => {
                let lost = after_crash(&self.action, class).applied(self.action.clone(), self.now);
                let (here, later) = (self.after("start", lost.clone()), self.after("start of another build", lost));
                vec![Self { build: BUILD, ..here }, Self { build: OTHER_BUILD, ..later }]
            }
            ActionState::Unknown | ActionState::Reconciling => match search(&self.action, class, self.build, self.now) {
                Ok(Search::Repeat) => self.calls(class),
                Ok(Search::Probe) => self.probes(),
                Err(instead) => vec![self.after("person", instead.applied(self.action.clone(), self.now))],
            },
            _ => Vec::new(),
        }
    }

    fn calls(&self, class: SendClass) -> Vec<Self> {
        let may_be_out = may_be_out(&self.action);
        let claim = claimed(self.action.clone(), self.build, self.now);
        let is_known = match class {
            SendClass::ClientId => self.n_posts > 0 && self.action.digest.is_none_or(|digest| digest == self.build),
            SendClass::Key(window) => self.n_posts > 0 && u128::from(self.now.since_ms(self.action.created)) < window.as_millis(),
            _ => false,
        };
        let mut ways = Vec::new();
        for (name, heard, takes) in answers() {
            let left = match &heard {
                None => claim.clone(),
                Some(Ok(receipt)) => Outcome::Sent(Some(receipt.clone())).applied(claim.clone(), self.now),
                Some(Err(fault)) => after_refusal(&claim, may_be_out, class, fault).applied(claim.clone(), self.now),
            };
            let n_posts = self.n_posts + u32::from(takes && !is_known);
            // The same, but nobody is back before the network has forgotten the key.
            let late = Self { now: self.now.plus(HOUR), n_posts, ..self.after(name, left.clone()) };
            ways.extend([Self { n_posts, ..self.after(name, left) }, late]);
        }
        ways
    }

    fn probes(&self) -> Vec<Self> {
        let honest = if self.n_posts > 0 { (Sent::Yes, Some(receipt())) } else { (Sent::No, None) };
        let found = [("look", Ok(honest)), ("hidden", Ok((Sent::Unknown, None))), ("down", Err(Fault::Transient(detail("x"))))];
        found.into_iter().map(|(name, found)| self.after(name, after_probe(&self.action, found).applied(self.action.clone(), self.now))).collect()
    }
}

/// Turns looked ahead: enough for a loss, a refused repeat, a change of build and what follows.
const TURNS_MAX: usize = 7;

#[test]
fn whatever_a_network_and_crashes_do_nothing_is_posted_twice_and_nothing_that_may_be_out_is_given_up_as_dead() {
    for class in [SendClass::ClientId, SendClass::Key(HOUR), SendClass::ReadBack, SendClass::None] {
        let start = Course { action: action(ActionState::Pending), n_posts: 0, now: NOW, build: BUILD, path: Vec::new() };
        let (mut open, mut seen, mut n_over) = (vec![start], HashSet::new(), 0);
        while let Some(course) = open.pop() {
            let Course { action, n_posts, now, build, path } = &course;
            assert!(*n_posts <= 1, "{class:?}: {path:?}");
            assert!(action.state != ActionState::Sent || *n_posts == 1, "{class:?}: sent and not there after {path:?}");
            assert!(action.state != ActionState::Dead || *n_posts == 0, "{class:?}: dead and out there after {path:?}");
            let key = (action.state, action.attempts, action.digest, *n_posts, now.0, *build, action.due.0);
            if path.len() < TURNS_MAX && seen.insert(key) {
                let ways = course.ways(class);
                n_over += u32::from(ways.is_empty());
                open.extend(ways);
            }
        }
        assert!(n_over > 0 && seen.len() > 50, "{class:?}: {} looked at, {n_over} over", seen.len());
    }
}

#[test]
fn what_is_lost_again_and_again_and_never_there_is_a_person_s() {
    let absent = |attempts| after_probe(&tried(ActionState::Unknown, attempts), Ok((Sent::No, None)));
    assert!(matches!(absent(ATTEMPTS_MAX - 1), Outcome::Again { state: ActionState::Retry, .. }));
    assert!(matches!(absent(ATTEMPTS_MAX), Outcome::Settled(ActionState::Human, ..)));
}
