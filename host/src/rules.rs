//! Asks the rules about each entry, in order, and commits what they decide with all that follows from it.
//!
//! Entries of one exchange never share a batch, so that a rule sees what it decided before. Nothing is carried out here: a
//! decision is a record, and what it asks for are records that the outbox and the timers find.

mod apply;
mod events;
mod timers;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;

use crate::model::{ChannelName, DeadLetter, DeadSubject, Detail, Fault, ReplyTerms, Seq};
use crate::plugin::{Generation, RuleDecision, View};
use crate::stage::{Journal, StageError, Turn, Work};
use crate::store::{Commit, Reader};

use apply::{Answer, Subject, Verdict, apply};
use events::{Asked, Questions};

pub(crate) use apply::timers_of;
pub use timers::Timers;

/// Entries read in one turn.
const ENTRIES_MAX: usize = 256;
/// Events in one call of a rule.
const EVENTS_MAX: usize = 64;
/// Turns in a row that a fault which time may mend holds the channel, about three minutes; then the item goes on without that rule.
const STRIKES_MAX: u32 = 12;

/// One configured rule.
#[derive(Clone)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Its build in force.
    pub plugin: Arc<Generation>,
}

/// The rules in force for all channels, in file order.
pub type RulesInForce = ArcSwap<Vec<Rule>>;

/// The rules' work on one channel.
pub struct Rules {
    /// Where the log is.
    pub journal: Journal,
    /// The channel.
    pub channel: ChannelName,
    /// Who is asked.
    pub rules: Arc<RulesInForce>,
    /// The channel's capability record, JSON.
    pub capabilities: Arc<str>,
    /// On what terms it carries a reply; none where it carries none.
    pub terms: Option<Arc<ReplyTerms>>,
    /// Teams there are.
    pub teams: Arc<[String]>,
    /// How often in a row a rule could not be asked. Can be lost.
    pub strikes: Mutex<u32>,
}

#[async_trait]
impl Work for Rules {
    fn stage(&self) -> &'static str {
        "rules"
    }

    fn channel(&self) -> &ChannelName {
        &self.channel
    }

    async fn turn(&self) -> Result<Turn, StageError> {
        let record = self.journal.store.channel(&self.channel).await?;
        let (position, analysed) = (record.position(&Reader::Rules), record.position(&Reader::Analysis));
        if position >= analysed {
            return Ok(Turn::Idle);
        }
        let n_entries = usize::try_from(analysed - position).unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX);
        let mut entries = self.journal.store.read_log(&self.channel, Seq(position + 1), n_entries).await?;
        // One of an exchange, and one about an interaction: what the first comes to is what the second must see.
        let (mut exchanges, mut interactions) = (HashSet::new(), HashSet::new());
        let repeats = entries.iter().position(|entry| {
            let is_known = entry.new.exchange.is_some_and(|exchange| !exchanges.insert(exchange));
            entry.new.interaction.is_some_and(|interaction| !interactions.insert(interaction)) || is_known
        });
        entries.truncate(repeats.unwrap_or(entries.len()));
        let Some(last) = entries.last().map(|entry| entry.seq) else { return Ok(Turn::Idle) };
        let rules = self.rules.load_full();
        let is_condemned = || rules.iter().any(|rule| rule.plugin.condemned().is_some());
        if is_condemned() {
            return Ok(self.journal.left_to_the_build_before());
        }
        let view = rules.iter().fold(View::default(), |view, rule| view.or(rule.plugin.manifest().view));
        let questions = Questions { journal: &self.journal, channel: &self.channel, capabilities: &self.capabilities, view };
        let asked = questions.about(&entries).await?;
        let mut commit = self.journal.begin(&self.channel);
        let unasked = self.decide(&rules, asked, &mut commit).await?;
        // What it decided is decided again by the build before.
        if is_condemned() {
            return Ok(self.journal.left_to_the_build_before());
        }
        commit.positions.push((Reader::Rules, unasked.map_or(last.0, |first| first.0.saturating_sub(1))));
        self.journal.commit(commit).await?;
        Ok(Turn::Worked)
    }
}

impl Rules {
    /// Gives the first that was not asked about.
    async fn decide(&self, rules: &[Rule], mut asked: Vec<Asked>, commit: &mut Commit) -> Result<Option<Seq>, StageError> {
        let mut verdicts: Vec<Vec<Verdict>> = asked.iter().map(|_| Vec::new()).collect();
        let (mut passing, mut letters, mut unasked) = (Vec::new(), Vec::new(), None);
        for rule in rules {
            let generation = &rule.plugin;
            let answers = self.ask(generation, &asked).await;
            unasked = asked.get(answers.len()).map(|one| one.entry.seq).or(unasked);
            asked.truncate(answers.len());
            for ((answer, list), one) in answers.into_iter().zip(&mut verdicts).zip(&asked) {
                match answer {
                    Ok(RuleDecision { actions, n_refused, row, reasons }) => {
                        let digest = generation.digest();
                        list.push(Verdict::Answer(Answer { rule: rule.name.clone(), digest, row, reasons, actions, n_refused }));
                    }
                    Err(fault) => {
                        list.push(Verdict::Failed(rule.name.clone()));
                        letters.push((one.entry.seq, self.letter(rule, one, &fault)));
                        if !fault.is_final() {
                            passing.push((one.entry.seq, format!("rule `{}`: {} {}", rule.name, fault.word(), fault.detail().code)));
                        }
                    }
                }
            }
        }
        let is_asked = |seq: Seq| unasked.is_none_or(|first| seq < first);
        self.hold_for(passing.into_iter().find(|(seq, _)| is_asked(*seq)).map(|(_, why)| why))?;
        commit.dead.extend(letters.into_iter().filter(|(seq, _)| is_asked(*seq)).map(|(_, letter)| letter));
        let now = commit.at;
        for (one, verdicts) in asked.iter().zip(verdicts) {
            let Some(content) = one.content.get() else { continue };
            let subject = Subject {
                key: self.journal.store.id_key(),
                channel: &self.channel,
                entry: &one.entry,
                content,
                interaction: one.interaction,
                conversation: one.conversation,
                exchange_id: one.exchange_id,
                identity: one.entry.new.identity,
                exchange: &one.exchange,
                received: one.received,
                missing: &one.missing,
                lineups: &one.lineups,
                terms: self.terms.as_deref(),
                is_redecision: one.is_redecision,
                is_gone: one.is_gone,
                actions: &one.actions,
                tasks: &one.tasks,
                teams: &self.teams,
                restored: self.journal.store.restored(),
                now,
            };
            apply(&subject, verdicts, commit);
        }
        Ok(unasked)
    }

    /// A fault that time may mend holds the channel, but not for ever.
    fn hold_for(&self, passing: Option<String>) -> Result<(), StageError> {
        let mut strikes = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        match passing {
            Some(why) if *strikes + 1 < STRIKES_MAX => {
                *strikes += 1;
                Err(StageError::Other(why))
            }
            _ => {
                *strikes = 0;
                Ok(())
            }
        }
    }

    /// One answer per event, same order; a batch that fails for good is halved until the event at fault stands alone. Where a rule
    /// that answers is left alone for what stands before, the rest is not asked about, and has no answer.
    async fn ask(&self, generation: &Generation, asked: &[Asked]) -> Vec<Result<RuleDecision, Fault>> {
        let mut answers = Vec::with_capacity(asked.len());
        let mut waiting: Vec<&[Asked]> = asked.chunks(EVENTS_MAX).rev().collect();
        while let Some(batch) = waiting.pop() {
            let events = batch.iter().map(|one| one.event_for(generation.manifest().view)).collect();
            match generation.decide(events).await {
                Ok(decisions) if decisions.len() == batch.len() => answers.extend(decisions.into_iter().map(Ok)),
                Ok(_) => answers.extend(batch.iter().map(|_| Err(wrong_count()))),
                Err(_) if batch.len() > 1 => {
                    let (first, second) = batch.split_at(batch.len() / 2);
                    waiting.extend([second, first]);
                }
                Err(fault) if fault.detail().code == Fault::BREAKER && answers.iter().any(Result::is_ok) => break,
                Err(fault) => answers.push(Err(fault)),
            }
        }
        answers
    }

    fn letter(&self, rule: &Rule, asked: &Asked, fault: &Fault) -> DeadLetter {
        let subject = format!("{}/{}", rule.name, asked.entry.seq);
        DeadLetter {
            id: self.journal.store.id_key().dead(&self.channel, "rules", &subject),
            channel: self.channel.clone(),
            stage: "rules".to_owned(),
            subject: DeadSubject::Entry(asked.entry.seq),
            plugin: Some(rule.name.clone()),
            digest: Some(rule.plugin.digest()),
            reason: fault.to_string(),
            at: self.journal.clock.now(),
        }
    }
}

fn wrong_count() -> Fault {
    Fault::Permanent(Detail { code: "contract".to_owned(), message: "another number of decisions than of events".to_owned() })
}
