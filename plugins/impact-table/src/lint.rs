//! What is wrong with a table although it can be read: rows nobody reaches, teams nobody knows, replies nobody reviews.

use membrana_sdk::{Finding, Surroundings, finding_error, finding_info, finding_warning};

use crate::table::{Mistake, Named, Predicate, ROWS_MAX, Row, Table, Test, Weight, read};
use crate::words::{is_near, is_same};

const KEY: &str = "table_file";
const LAST_ROW: &str = "end the table with [[row]] name = \"everything else\", without `when`";
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
            self.row(row);
        }
    }

    /// A row that one row before it always beats.
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
        }
    }

    fn row(&mut self, row: &Row) {
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
        self.duties(row);
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
    fn duties(&mut self, row: &Row) {
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

    fn predicate(&mut self, predicate: &Predicate) {
        let here = (predicate.line, predicate.column);
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

/// Says whether `first` matches everything that `row` matches, by form: every condition of `first` is weaker. A row whose
/// `when` has a mistake covers nothing and is covered by nothing, so that one mistake is told once.
fn covers(first: &Row, row: &Row) -> bool {
    if first.is_doubtful || row.is_doubtful {
        return false;
    }
    let narrower = row.when.as_deref().unwrap_or_default();
    first.when.iter().flatten().all(|wide| narrower.iter().any(|narrow| is_weaker(wide, narrow)))
}

fn is_weaker(wide: &Predicate, narrow: &Predicate) -> bool {
    if wide.key != narrow.key || wide.is_annotation != narrow.is_annotation {
        return false;
    }
    match (&wide.test, &narrow.test) {
        (Test::Any(wide_words), Test::Any(words)) => words.iter().all(|word| wide_words.iter().any(|wide_word| is_same(&wide.key, wide_word, word))),
        (Test::Range(a, b), Test::Range(c, d)) => a <= c && b >= d,
        _ => false,
    }
}
