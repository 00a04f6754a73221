//! The plugins' own code without Wasm, and the words that every bench analyses.

use membrana_impact_table::ImpactTable;
use membrana_language::Language;
use membrana_sdk::analyzer::{Batch, Context, Item};
use membrana_sdk::rule::{Event, Exchange, Interaction};
use membrana_sdk::{Analyzer, Annotation as Said, Rule as _, Value as Word, testing};
use membrana_sentiment::Sentiment;

use crate::model::{Annotation, Detail, Fault, Value, Wanted};
use crate::plugin::{AnalyzeBatch, Native, RuleDecision, RuleEvent};

/// What customers write; about 240 bytes each.
pub(super) const TEXTS: [&str; 4] = [
    "Ho pagato due volte la bolletta di novembre e nessuno mi risponde al telefono da tre settimane, è davvero una vergogna. Vorrei il rimborso subito, altrimenti passo alla concorrenza insieme a tutta la mia famiglia.",
    "The new app is really great and the support team was very friendly when I called yesterday, but the invoice still shows the wrong address and I do not know where I can change it. Could you please have a look at it?",
    "Buongiorno, a che ora apre il negozio di via Roma durante le feste? Ho provato a chiamare ma la linea è sempre occupata e sul vostro sito non trovo gli orari aggiornati. Grazie mille per la vostra gentilezza.",
    "My parcel never came, the tracking page has not changed for nine days and your chat bot keeps telling me to wait. This is not acceptable, I want my money back or a new parcel before the weekend, thank you very much.",
];

/// The impact table of every bench: reviews, 5 % of what is said, get a task and a drafted reply. Without its annotation the
/// row does not match, so that a missing one would be seen.
pub(super) const TABLE: &str = "[[row]]\nname = \"complaint\"\nwhen = { kind = [\"review\"], sentiment = { max = 1.0 } }\nresponsible = \"support\"\nwithin = \"2h\"\nreply = { mode = \"draft\", text = { it = \"Ciao {author}, ci dispiace. Ci stiamo lavorando.\", en = \"Hi {author}, we are sorry. We are on it.\" } }\n[[row]]\nname = \"everything else\"\n";

/// Which analyzer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    Language,
    Sentiment,
}

/// A batch as the analyzers' code takes it.
pub(super) fn batch(batch: &AnalyzeBatch<'_>) -> Batch {
    let items = batch.items.iter().map(|item| Item {
        subject: item.subject.map(str::to_owned),
        text: item.text.to_owned(),
        language: item.language.map(str::to_owned),
        occurred: item.occurred.0,
        context: (!item.earlier.is_empty()).then(|| Context {
            earlier: item.earlier.iter().map(|said| said_of((*said).clone())).collect(),
            author: None,
            attachments: Vec::new(),
        }),
    });
    Batch { channel: batch.channel.to_owned(), kind: batch.kind.to_owned(), items: items.collect() }
}

fn said_of(said: Annotation) -> Said {
    let value = match said.value {
        Value::Text(text) => Word::Text(text),
        Value::Number(number) => Word::Number(number),
        Value::Boolean(flag) => Word::Boolean(flag),
        Value::Json(json) => Word::Json(json),
    };
    Said { key: said.key, value, confidence: said.confidence }
}

fn taken(said: Said) -> Annotation {
    let value = match said.value {
        Word::Text(text) => Value::Text(text),
        Word::Number(number) => Value::Number(number),
        Word::Boolean(flag) => Value::Boolean(flag),
        Word::Json(json) => Value::Json(json),
    };
    Annotation { key: said.key, value, confidence: said.confidence }
}

fn fault(fault: &membrana_sdk::Fault) -> Fault {
    Fault::Permanent(Detail { code: "native".to_owned(), message: format!("{fault:?}") })
}

/// An analyzer's own code in its place.
pub(super) struct NativeAnalyzer(pub(super) Which);

impl Native for NativeAnalyzer {
    fn analyze(&self, items: &AnalyzeBatch<'_>) -> Result<Vec<Vec<Annotation>>, Fault> {
        let items = batch(items);
        let said = match self.0 {
            Which::Language => Language::analyze(&items),
            Which::Sentiment => Sentiment::analyze(&items),
        };
        let said = said.map_err(|error| fault(&error))?;
        Ok(said.into_iter().map(|list| list.into_iter().map(taken).collect()).collect())
    }
}

/// The impact table's own code in its place.
pub(super) struct NativeRule;

impl Native for NativeRule {
    fn decide(&self, events: Vec<RuleEvent>) -> Result<Vec<RuleDecision>, Fault> {
        testing::Host::with_config(serde_json::json!({ "table": TABLE }).to_string()).install();
        let events: Vec<Event> = events.into_iter().map(event).collect();
        let decisions = ImpactTable::decide(&events).map_err(|error| fault(&error))?;
        let wanted = |action: membrana_sdk::rule::Action| Wanted { key: action.key, kind: action.kind, body: action.body };
        Ok(decisions
            .into_iter()
            .map(|one| RuleDecision { actions: one.actions.into_iter().map(wanted).collect(), n_refused: 0, row: one.row, reasons: one.reasons })
            .collect())
    }
}

fn event(event: RuleEvent) -> Event {
    let about = event.interaction.map(|about| Interaction {
        id: about.id,
        channel: about.channel,
        kind: about.kind,
        visibility: about.visibility,
        subject: about.subject,
        text: about.text,
        language: about.language,
        automated: about.automated,
        identity: about.identity,
        author_name: about.author_name,
        author_handle: about.author_handle,
        author_metrics: about.author_metrics,
        place: None,
        side: about.side,
        campaign: about.campaign,
        occurred: about.occurred.0,
        received: about.received.0,
        backfill: about.backfill,
        attrs: about.attrs,
        annotations: about.annotations.into_iter().map(said_of).collect(),
        missing: about.missing,
    });
    Event {
        kind: event.kind,
        at: event.at.0,
        interaction: about,
        done: Vec::new(),
        capabilities: event.capabilities.to_string(),
        exchange: event
            .exchange
            .map(|exchange| Exchange { version: exchange.version, automatic_replies_last_hour: exchange.automatic_replies_last_hour }),
        conversation: None,
        person: None,
        body: event.body,
    }
}
