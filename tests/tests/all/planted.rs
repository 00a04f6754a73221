//! Faults planted in the evidence of a clean run: the judge must find and name each.

use membrana::model::Digest;
use membrana_tests::judge::{Evidence, Posted, Said, Stored, Told, Wrong, judge};
use membrana_world::Dice;
use serde_json::Value as Json;

/// Places at which each kind of fault is planted.
const SEEDS: u64 = 8;

/// Plants every kind of fault in the evidence of a clean run, at seeded places: the judge finds and names each.
pub(crate) fn each_planted_fault_is_found(clean: &Evidence) {
    assert_eq!(judge(clean), Vec::new(), "the evidence is clean");
    for wrong in Wrong::ALL {
        for seed in 0..SEEDS {
            let mut dice = Dice::new(seed);
            let mut evidence = clean.clone();
            let of = plant(&mut evidence, wrong, &mut dice).unwrap_or_else(|| panic!("{wrong:?} cannot be planted: the run was too short"));
            let found = judge(&evidence);
            let is_named = found.iter().any(|breach| breach.wrong == wrong && of.as_ref().is_none_or(|of| breach.of == *of));
            assert!(is_named, "{wrong:?} of {of:?} (seed {seed}) is not found, but {found:?}");
        }
    }
}

/// A place among those that will do.
fn pick<T>(dice: &mut Dice, all: impl IntoIterator<Item = T>) -> Option<T> {
    let mut all: Vec<T> = all.into_iter().collect();
    let n = dice.below(u64::try_from(all.len()).unwrap().max(1));
    (!all.is_empty()).then(|| all.swap_remove(usize::try_from(n).unwrap()))
}

/// Plants a fault; gives what it is about, where the evidence has a name for that. None: there is nothing to do it to.
fn plant(evidence: &mut Evidence, wrong: Wrong, dice: &mut Dice) -> Option<Option<String>> {
    match wrong {
        Wrong::AuditBroken => return break_audit(&mut evidence.audit, dice).map(|()| None),
        Wrong::OrderLost => {
            evidence.n_orders += 1 + evidence.audit.0.len();
            return Some(None);
        }
        Wrong::Damaged => evidence.damage.push("a record is missing".to_owned()),
        _ => {}
    }
    let of = match wrong {
        Wrong::Damaged => evidence.damage.last().cloned(),
        _ => in_store(evidence, wrong, dice).or_else(|| in_outbox(evidence, wrong, dice)).or_else(|| in_crm(evidence, wrong, dice)),
    };
    of.map(Some)
}

/// In what was taken in, and what was decided on it.
fn in_store(evidence: &mut Evidence, wrong: Wrong, dice: &mut Dice) -> Option<String> {
    let of = match wrong {
        Wrong::Lost => {
            let n = pick(dice, 0..evidence.stored.len())?;
            evidence.stored.remove(n).name
        }
        Wrong::Phantom => {
            let mut ghost = pick(dice, evidence.stored.clone())?;
            (ghost.name, ghost.id) = ("never-said".to_owned(), "ghost".to_owned());
            evidence.stored.push(ghost);
            "never-said".to_owned()
        }
        Wrong::StoredTwice => {
            let one = pick(dice, evidence.stored.clone())?;
            evidence.stored.push(Stored { id: "again".to_owned(), ..one.clone() });
            one.name
        }
        Wrong::Undecided => {
            let one = pick(dice, evidence.stored.clone())?;
            let said = evidence.said.iter().find(|said| said.name == one.name)?;
            let is_reply = said.wants_reply && dice.below(2) == 0;
            if is_reply {
                evidence.actions.retain(|action| action.about != one.id);
            } else if said.wants_task {
                evidence.tasks.retain(|about| *about != one.id);
            } else {
                // One that nobody had to decide, from now on had to be.
                evidence.said.iter_mut().filter(|said| said.name == one.name).for_each(|said| said.wants_reply = true);
            }
            one.name
        }
        Wrong::DecidedTwice => {
            let about = pick(dice, evidence.tasks.clone())?;
            evidence.tasks.push(about.clone());
            evidence.stored.iter().find(|one| one.id == about)?.name.clone()
        }
        _ => return None,
    };
    Some(of)
}

/// In what went out, and what became of it.
fn in_outbox(evidence: &mut Evidence, wrong: Wrong, dice: &mut Dice) -> Option<String> {
    let of = match wrong {
        Wrong::PostedTwice => {
            let n = pick(dice, 0..evidence.posts.len())?;
            let post = evidence.posts[n].clone();
            evidence.posts.insert(n, post.clone());
            post.answers
        }
        Wrong::PostedUnasked => {
            let about = pick(dice, evidence.posts.clone())?;
            evidence.posts.push(Posted { answers: String::new(), channel: about.channel.clone() });
            format!("{}/", about.channel)
        }
        Wrong::NotPosted => {
            let sent = pick(dice, evidence.actions.clone().into_iter().filter(|action| action.state == "sent"))?;
            let one = evidence.stored.iter().find(|one| one.id == sent.about)?;
            evidence.posts.retain(|post| (&post.channel, &post.answers) != (&one.channel, &one.name));
            sent.id
        }
        Wrong::OutOfOrder => {
            let exchange_of = |post: &Posted| {
                let said = |said: &&Said| (&said.channel, &said.name) == (&post.channel, &post.answers);
                evidence.said.iter().find(said).map(|said| said.exchange.clone()).unwrap_or_default()
            };
            let posts = &evidence.posts;
            let is_one = |n: usize, m: usize| posts[n].channel == posts[m].channel && exchange_of(&posts[n]) == exchange_of(&posts[m]);
            let later = |n: usize| (n + 1..posts.len()).find(|m| is_one(n, *m) && posts[n] != posts[*m]);
            let (n, m) = pick(dice, (0..posts.len()).filter(|n| !posts[*n].answers.is_empty()).filter_map(|n| Some((n, later(n)?))))?;
            let exchange = exchange_of(&posts[n]);
            evidence.posts.swap(n, m);
            exchange
        }
        Wrong::Unsettled => {
            let at = evidence.at.clone();
            let n = pick(dice, 0..evidence.actions.len())?;
            let action = &mut evidence.actions[n];
            let state = pick(dice, ["claimed", "pending", "retry", "unknown", "reconciling", "nonsense"])?;
            (action.state, action.due, action.reason) = (state.to_owned(), at, Some("a reason".to_owned()));
            action.id.clone()
        }
        Wrong::Unexplained => {
            let n = pick(dice, 0..evidence.actions.len())?;
            let action = &mut evidence.actions[n];
            let state = pick(dice, ["human", "dead", "unknown", "retry"])?;
            (action.state, action.due, action.reason) = (state.to_owned(), "9999".to_owned(), pick(dice, [None, Some(" ".to_owned())])?);
            action.id.clone()
        }
        _ => return None,
    };
    Some(of)
}

/// In what the CRM was told, and where a network was asked from.
fn in_crm(evidence: &mut Evidence, wrong: Wrong, dice: &mut Dice) -> Option<String> {
    let of = match wrong {
        Wrong::Untold => {
            let (kind, one) = (pick(dice, evidence.kinds.clone())?, pick(dice, evidence.stored.clone())?);
            evidence.told.retain(|told| (&told.kind, &told.about) != (&kind, &one.id));
            format!("{kind} of {}", one.name)
        }
        Wrong::ToldTwice => {
            let kinds = evidence.kinds.clone();
            let told = pick(dice, evidence.told.clone().into_iter().filter(|told| kinds.contains(&told.kind)))?;
            evidence.told.push(Told { id: "again".to_owned(), ..told.clone() });
            format!("{} of {}", told.kind, evidence.stored.iter().find(|one| one.id == told.about)?.name)
        }
        Wrong::ToldInTwoWays => {
            let told = pick(dice, evidence.told.clone())?;
            evidence.told.push(Told { words: "otherwise".to_owned(), ..told.clone() });
            told.id
        }
        Wrong::ToldUnasked => {
            let told = pick(dice, evidence.told.clone())?;
            evidence.told.push(Told { id: "unasked".to_owned(), about: "nobody".to_owned(), ..told });
            "unasked".to_owned()
        }
        Wrong::Unsigned => {
            let n = pick(dice, 0..evidence.told.len())?;
            evidence.told[n].is_signed = false;
            evidence.told[n].id.clone()
        }
        Wrong::SteppedBack => {
            let has_before = |places: &[u64]| (1..places.len()).filter(|n| places[n - 1] > 0).collect::<Vec<_>>();
            let all = evidence.asked.iter().flat_map(|(channel, places)| has_before(places).into_iter().map(move |n| (channel.clone(), n)));
            let (channel, n) = pick(dice, all)?;
            let places = evidence.asked.get_mut(&channel)?;
            let before = places[n - 1];
            places.insert(n, before - 1);
            channel
        }
        _ => return None,
    };
    Some(of)
}

/// Edits, deletes or moves a record, also as somebody who makes its digest anew.
fn break_audit((lines, head): &mut (Vec<String>, String), dice: &mut Dice) -> Option<()> {
    // Of a host that died between a record and its head nobody can know the last record.
    let known: usize = head.split_once(' ')?.0.parse().ok()?;
    let n = pick(dice, 1..lines.len().min(known))?;
    match dice.below(5) {
        0 => drop(lines.remove(n)),
        1 => lines.swap(n - 1, n),
        2 => lines[n] = lines[n].replace("\"at\":\"2", "\"at\":\"3"),
        3 => {
            let json = lines[n].split_once(' ')?.1.replace("\"at\":\"2", "\"at\":\"3");
            lines[n] = format!("{} {json}", Digest::of(json.as_bytes()));
            // Of the last the head alone knows, unless the host died just before it was written.
            let last = lines.last()?;
            let json = last.split_once(' ')?.1;
            let known: Json = serde_json::from_str(json).ok()?;
            *head = if n + 1 == lines.len() { format!("{} 0", known["n"]) } else { head.clone() };
        }
        _ => lines.truncate(n),
    }
    Some(())
}
