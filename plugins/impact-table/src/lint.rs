//! What is wrong with a table although it can be read: rows nobody reaches, teams nobody knows, replies nobody reviews.

use membrana_sdk::{Finding, Surroundings, finding_error, finding_info, finding_warning};

use crate::reach::{contradiction, covers, overlaps, shared_cover};
use crate::table::{Mistake, Named, Predicate, ROWS_MAX, Row, Table, Test, Weight, read};
use crate::words::{is_near, places_in};

const KEY: &str = "table_file";
const LAST_ROW: &str = "end the table with [[row]] name = \"everything else\", without `when`";
/// The words that the host and the bundled analyzers say; another is never met.
const VOCABULARIES: [(&str, &[&str]); 5] = [
    ("intent", &["complaint", "question", "request", "suggestion", "praise", "thanks", "purchase", "churn", "application", "other"]),
    ("visibility", &["public", "unlisted", "followers", "direct"]),
    ("kind", &["post", "reply", "comment", "mention", "direct", "mail", "review", "reaction", "share", "checkin", "status"]),
    ("side", &["outside", "inside"]),
    ("automated", &["no", "auto-reply", "bounce", "list", "bot", "notification"]),
];
/// What people write in the place of a code: their own and English names of languages.
const LANGUAGES: [(&[&str], &str); 10] = [
    (&["english"], "en"),
    (&["italian", "italiano"], "it"),
    (&["german", "deutsch"], "de"),
    (&["french", "français", "francais"], "fr"),
    (&["spanish", "español", "espanol"], "es"),
    (&["portuguese", "português", "portugues"], "pt"),
    (&["dutch", "nederlands"], "nl"),
    (&["polish", "polski"], "pl"),
    (&["swedish", "svenska"], "sv"),
    (&["turkish", "türkçe"], "tr"),
];
/// What a reply's text may have filled in.
const PLACES: [&str; 3] = ["author", "subject", "channel"];
/// Things said of one table; the host takes no more.
const FINDINGS_MAX: usize = ROWS_MAX;

/// Every mistake of a table, by place.
pub(crate) fn findings(text: &str, around: &Surroundings) -> Vec<Finding> {
    let (table, mut mistakes) = read(text);
    let mut lint = Lint { around, mistakes: &mut mistakes };
    lint.rows(&table);
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    // Errors first where there are too many, so that a cut never makes a wrong table look right.
    if mistakes.len() > FINDINGS_MAX {
        mistakes.sort_by_key(|mistake| mistake.weight);
    }
    mistakes.into_iter().take(FINDINGS_MAX).map(finding).collect()
}

fn finding(mistake: Mistake) -> Finding {
    let finding = match mistake.weight {
        Weight::Error => finding_error(KEY, mistake.message, mistake.cure),
        Weight::Warning => finding_warning(KEY, mistake.message, mistake.cure),
        Weight::Info => finding_info(KEY, mistake.message, mistake.cure),
    };
    finding.at(mistake.line.max(1), mistake.column.max(1))
}

struct Lint<'a> {
    around: &'a Surroundings,
    mistakes: &'a mut Vec<Mistake>,
}

impl Lint<'_> {
    fn say(&mut self, weight: Weight, (line, column): (u32, u32), message: String, cure: String) {
        self.mistakes.push(Mistake { weight, line, column, message, cure });
    }

    fn rows(&mut self, table: &Table) {
        match table.rows.last() {
            _ if table.is_cut => {}
            None => self.say(Weight::Error, (1, 1), "the table has no row".to_owned(), LAST_ROW.to_owned()),
            Some(row) if row.when.is_some() => {
                self.say(
                    Weight::Error,
                    (row.line, row.column),
                    "the last row has a `when`: what no row matches is nobody's".to_owned(),
                    LAST_ROW.to_owned(),
                );
            }
            Some(_) => {}
        }
        for (n, row) in table.rows.iter().enumerate() {
            let earlier = table.rows.get(..n).unwrap_or_default();
            self.reach(row, earlier);
            self.row(row, n + 1 == table.rows.len());
        }
    }

    /// A row that rows before it always beat, or that beats itself.
    fn reach(&mut self, row: &Row, earlier: &[Row]) {
        let here = (row.line, row.column);
        if let Some(first) = earlier.iter().find(|first| first.name == row.name && !row.name.is_empty()) {
            self.say(
                Weight::Error,
                here,
                format!("two rows are named \"{}\" (the first in line {})", row.name, first.line),
                "give each its own name".to_owned(),
            );
        }
        if let Some(first) = earlier.iter().find(|first| covers(first, row)) {
            let message = format!("row \"{}\" is never reached: row \"{}\" in line {} matches all it would", row.name, first.name, first.line);
            self.say(Weight::Error, here, message, "move it up, or narrow the row before it".to_owned());
        } else if let Some((rows, key)) = shared_cover(earlier, row) {
            let rows: Vec<String> = rows.iter().take(4).map(|first| format!("\"{}\" in line {}", first.name, first.line)).collect();
            let message = format!("row \"{}\" is never reached: rows {} share out all of its `{key}`", row.name, rows.join(", "));
            self.say(Weight::Error, here, message, "move it up, or narrow the rows before it".to_owned());
        } else if let Some(first) = earlier.iter().find(|first| is_other(first, row) && overlaps(first, row)) {
            let message =
                format!("rows \"{}\" in line {} and \"{}\" have events in common: the first decides them", first.name, first.line, row.name);
            self.say(Weight::Info, here, message, "draw the line between them if that is not meant".to_owned());
        }
        if let Some(predicate) = contradiction(row).filter(|_| !row.is_doubtful) {
            let message = format!("row \"{}\" never matches: what it asks of `{}` holds never at once", row.name, predicate.key);
            self.say(Weight::Error, (predicate.line, predicate.column), message, "leave one of the two out".to_owned());
        }
    }

    fn row(&mut self, row: &Row, is_last: bool) {
        let teams = row.responsible.iter().chain(&row.consulted).chain(&row.informed).chain(row.escalate.iter().map(|(_, to)| to));
        let review = row.reply.iter().flat_map(|reply| &reply.review);
        for team in teams.chain(review) {
            self.team(team);
        }
        for predicate in row.when.iter().flatten() {
            self.predicate(predicate);
        }
        if let Some(reply) = row.reply.as_ref().filter(|reply| reply.is_sent && !reply.review.is_empty()) {
            self.say(
                Weight::Error,
                (reply.line, reply.column),
                format!("the reply of row \"{}\" names reviewers but would be sent without them", row.name),
                "write mode = \"draft\", or leave out `review`".to_owned(),
            );
        }
        for (reply, text) in row.reply.iter().flat_map(|reply| reply.text.iter().map(move |(_, text)| (reply, text))) {
            for word in places_in(text).filter(|word| !PLACES.contains(word)) {
                let near = PLACES.iter().find(|known| is_near(word, known));
                let cure =
                    near.map_or_else(|| "there are {author}, {subject} and {channel}".to_owned(), |near| format!("did you mean `{{{near}}}`?"));
                self.say(Weight::Warning, (reply.line, reply.column), format!("`{{{word}}}` would be sent as it stands"), cure);
            }
        }
        if let Some(reply) = &row.reply {
            self.languages((reply.line, reply.column), reply.text.iter().map(|(language, _)| language.as_str()), "no answer is chosen by it");
        }
        self.duties(row, is_last);
        let too_late = row.escalate.windows(2).find(|pair| matches!(pair, [(a, _), (b, _)] if a >= b));
        if let Some([_, (_, to)]) = too_late {
            self.say(
                Weight::Error,
                (to.line, to.column),
                format!("the escalation to `{}` comes no later than the one before it", to.name),
                "order the steps by `after`, rising".to_owned(),
            );
        }
    }

    /// A row without `responsible` only counts: what else it asks for would never happen.
    fn duties(&mut self, row: &Row, is_last: bool) {
        let here = (row.line, row.column);
        let asks_for = [
            ("within", row.within_ms.is_some()),
            ("escalate", !row.escalate.is_empty()),
            ("consulted", !row.consulted.is_empty()),
            ("informed", !row.informed.is_empty()),
            ("reply", row.reply.is_some()),
            ("note", row.note.is_some()),
        ];
        let asked: Vec<&str> = asks_for.iter().filter(|(_, is_asked)| *is_asked).map(|(key, _)| *key).collect();
        match &row.responsible {
            // The last row is there for what nobody waits for.
            None if asked.is_empty() && is_last => {}
            None if asked.is_empty() => self.say(
                Weight::Info,
                here,
                format!("row \"{}\" only counts", row.name),
                "add responsible = \"TEAM\" if somebody should act".to_owned(),
            ),
            None => {
                let message = format!("row \"{}\" has `{}` and nobody responsible, so it would only count", row.name, asked.join("`, `"));
                self.say(Weight::Error, here, message, "add responsible = \"TEAM\"".to_owned());
            }
            Some(_) if row.within_ms.is_none() => {
                self.say(Weight::Warning, here, format!("row \"{}\" gives a task without a deadline", row.name), "add within = \"4h\"".to_owned());
            }
            Some(_) => {}
        }
    }

    fn team(&mut self, team: &Named) {
        if self.around.teams.contains(&team.name) {
            return;
        }
        let near = self.around.teams.iter().find(|known| is_near(&team.name, known));
        let cure = near.map_or_else(|| format!("add [[team]] name = \"{}\" to membrana.toml", team.name), |near| format!("did you mean \"{near}\"?"));
        self.say(Weight::Error, (team.line, team.column), format!("there is no team \"{}\"", team.name), cure);
    }

    /// Languages are told by their codes.
    fn languages<'w>(&mut self, here: (u32, u32), words: impl Iterator<Item = &'w str>, then: &str) {
        for word in words.filter(|word| !is_language(word)) {
            let code = LANGUAGES.iter().find(|(names, _)| names.contains(&&*word.to_lowercase())).map(|(_, code)| (*code).to_owned());
            let code = code.or_else(|| Some(word.replace('_', "-")).filter(|code| is_language(code)));
            let cure = code.map_or_else(|| "write its code: en, it, pt-BR".to_owned(), |code| format!("did you mean \"{code}\"?"));
            self.say(Weight::Warning, here, format!("no language is \"{word}\", so {then}"), cure);
        }
    }

    /// A word that is in no vocabulary: the row waits for what nobody says.
    fn vocabulary(&mut self, predicate: &Predicate, words: &[String]) {
        let Some((key, known)) = VOCABULARIES.iter().find(|(key, _)| *key == predicate.key) else { return };
        for word in words.iter().filter(|word| !known.iter().any(|known| known.eq_ignore_ascii_case(word))) {
            let lower = word.to_lowercase();
            let near = known.iter().find(|known| is_near(&lower, known) || lower.len() > 3 && known.starts_with(&*lower));
            let cure = near.map_or_else(|| format!("{key}: {}", known.join(", ")), |near| format!("did you mean \"{near}\"?"));
            self.say(Weight::Warning, (predicate.line, predicate.column), format!("no {key} is \"{word}\", so that never matches"), cure);
        }
    }

    fn predicate(&mut self, predicate: &Predicate) {
        let here = (predicate.line, predicate.column);
        if let Test::Any(words) = &predicate.test {
            self.vocabulary(predicate, words);
            if predicate.key == "language" {
                self.languages(here, words.iter().map(String::as_str), "that never matches");
            }
        }
        if let (false, "channel", Test::Any(names)) = (predicate.is_annotation, predicate.key.as_str(), &predicate.test) {
            for name in names.iter().filter(|name| !self.around.channels.contains(name)) {
                let near = self.around.channels.iter().find(|known| is_near(name, known));
                let cure = near.map_or_else(|| format!("channels: {}", self.around.channels.join(", ")), |near| format!("did you mean \"{near}\"?"));
                self.mistakes.push(Mistake {
                    weight: Weight::Error,
                    line: here.0,
                    column: here.1,
                    message: format!("there is no channel \"{name}\""),
                    cure,
                });
            }
        }
        // By convention an analyzer is named after what it says; another name is fine, so this is a hint only.
        if predicate.is_annotation && !self.around.analyzers.iter().any(|name| name.contains(&predicate.key)) {
            let message = format!("no analyzer is named after `{}`", predicate.key);
            self.say(
                Weight::Warning,
                here,
                message,
                format!("add [[analyzer]] name = \"{0}\" plugin = \"{0}\" if nothing else says it", predicate.key),
            );
        }
    }
}

/// Shape of a language tag: `en`, `pt-BR`, `zh-Hant-TW`. Source: BCP 47.
fn is_language(word: &str) -> bool {
    let mut parts = word.split('-');
    let main = parts.next().unwrap_or_default();
    (2..=3).contains(&main.len())
        && main.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Two rows whose order matters, for they do not do the same.
fn is_other(first: &Row, row: &Row) -> bool {
    first.responsible.as_ref().map(|team| &team.name) != row.responsible.as_ref().map(|team| &team.name)
}
