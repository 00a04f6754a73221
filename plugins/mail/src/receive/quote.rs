//! Tells what a mail says from what it quotes. Works on lines, in one pass, in the words of the mail programs of about
//! fifteen languages. In doubt a line counts as said: hiding a complaint is worse than reading a quote twice.

/// Longer lines are never an attribution.
const ATTRIBUTION_BYTES_MAX: usize = 400;
/// An attribution may be wrapped over so many lines.
const ATTRIBUTION_LINES_MAX: usize = 4;

/// Visible text, and what it quotes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) visible: String,
    pub(crate) quoted: Option<String>,
}

/// Shape: `text` has `\n` line ends. A mail that is nothing but a forwarded one is all visible: that is what it says.
pub(crate) fn split(text: &str) -> Split {
    let lines: Vec<&str> = text.lines().collect();
    let (mut visible, mut quoted) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(&line) = lines.get(at) {
        let following = lines.get(at..).unwrap_or_default();
        if is_divider(line) || is_header_block(following) {
            quoted.extend_from_slice(following);
            break;
        }
        match attribution(following) {
            Some(Attribution { lines: count, marked: true }) => {
                quoted.extend_from_slice(following.get(..count).unwrap_or_default());
                at += count;
            }
            Some(_) => {
                quoted.extend_from_slice(following);
                break;
            }
            None => {
                let side = if line.starts_with('>') { &mut quoted } else { &mut visible };
                side.push(line);
                at += 1;
            }
        }
    }
    let said = tidy(&visible);
    // Nothing but a quote is what the mail says.
    if said.is_empty() {
        return Split { visible: tidy(&lines), quoted: None };
    }
    let quoted = tidy(&quoted);
    Split { visible: said, quoted: (!quoted.is_empty()).then_some(quoted) }
}

struct Attribution {
    lines: usize,
    /// `>` lines follow: what comes after them is said again.
    marked: bool,
}

/// `On Mon, 2 Mar 2026 at 09:00, Anna <anna@example.org> wrote:` and its kin, perhaps wrapped.
fn attribution(lines: &[&str]) -> Option<Attribution> {
    let first = lines.first()?.trim();
    if first.is_empty() || first.starts_with('>') {
        return None;
    }
    let mut joined = String::new();
    for (count, line) in lines.iter().take(ATTRIBUTION_LINES_MAX).enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('>') || joined.len() + line.len() > ATTRIBUTION_BYTES_MAX {
            return None;
        }
        joined.push_str(line);
        joined.push(' ');
        if line.ends_with([':', '：']) {
            let marked = lines.get(count + 1..)?.iter().map(|l| l.trim()).find(|l| !l.is_empty()).is_some_and(|l| l.starts_with('>'));
            return reads_as_attribution(joined.trim(), marked).then_some(Attribution { lines: count + 1, marked });
        }
    }
    None
}

fn reads_as_attribution(text: &str, marked: bool) -> bool {
    let text = text.to_lowercase();
    let says = VERBS.iter().any(|verb| text.contains(verb));
    let opens = OPENINGS.iter().any(|word| text.starts_with(word));
    let is_dated = text.contains('@') || text.chars().filter(char::is_ascii_digit).count() >= 4;
    match marked {
        // Before marked lines a date or an address is enough, in whatever language.
        true => says || is_dated,
        // Without marks all that follows is taken for the quote: only an address makes that sure enough.
        false => says && opens && text.contains('@'),
    }
}

/// A line that mail programs put above what they quote or forward.
fn is_divider(line: &str) -> bool {
    let dashed = line.trim();
    if !dashed.starts_with("--") && !dashed.starts_with("Begin forwarded") && !dashed.starts_with("Inizio messaggio inoltrato") {
        return false;
    }
    let words = dashed.trim_matches(['-', ' ', ':']).to_lowercase();
    words.len() <= 60 && DIVIDERS.iter().any(|divider| words.starts_with(divider))
}

/// Outlook's block: `From: … Sent: … To: … Subject: …` in some language, one label a line.
fn is_header_block(lines: &[&str]) -> bool {
    let mut lines = lines.iter().map(|line| line.trim().trim_start_matches(['*', ' ', '\u{a0}']));
    if !lines.next().and_then(label).is_some_and(|label| FROM_LABELS.contains(&label.as_str())) {
        return false;
    }
    let others = lines.take(7).filter_map(label).filter(|label| OTHER_LABELS.contains(&label.as_str())).count();
    others >= 2
}

fn label(line: &str) -> Option<String> {
    let (label, _) = line.split_once([':', '：'])?;
    let label = label.trim_end_matches(['*', ' ', '\u{a0}']);
    (label.len() <= 24).then(|| label.to_lowercase())
}

fn tidy(lines: &[&str]) -> String {
    let mut out = String::new();
    let mut blank = 0;
    for line in lines {
        let line = line.trim_end();
        if line.is_empty() {
            blank += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if blank > 0 { "\n\n" } else { "\n" });
        }
        blank = 0;
        out.push_str(line);
    }
    out
}

const OPENINGS: &[&str] =
    &["on ", "il ", "in data ", "am ", "le ", "el ", "em ", "op ", "den ", "dnia ", "w dniu ", "a ", "em ", "dne ", "ngày ", "pe ", "la ", "em "];

const VERBS: &[&str] = &[
    "wrote",
    "writes",
    "ha scritto",
    "scrisse",
    "schrieb",
    "a écrit",
    "a ecrit",
    "escribió",
    "escribio",
    "escreveu",
    "schreef",
    "skrev",
    "napisał",
    "pisze",
    "kirjoitti",
    "yazdı",
    "написал",
    "пишет",
    "пише",
    "napsal",
    "a scris",
    "írta",
    "έγραψε",
    "写道",
    "書きました",
    "작성",
];

const DIVIDERS: &[&str] = &[
    "original message",
    "forwarded message",
    "messaggio originale",
    "messaggio inoltrato",
    "begin forwarded message",
    "inizio messaggio inoltrato",
    "ursprüngliche nachricht",
    "originalnachricht",
    "weitergeleitete nachricht",
    "message d'origine",
    "message original",
    "message transféré",
    "mensaje original",
    "mensaje reenviado",
    "mensagem original",
    "mensagem encaminhada",
    "oorspronkelijk bericht",
    "doorgestuurd bericht",
    "ursprungligt meddelande",
    "opprinnelig melding",
    "oprindelig meddelelse",
    "wiadomość oryginalna",
    "исходное сообщение",
    "пересылаемое сообщение",
    "original-nachricht",
    "reply message",
    "mensaje original",
];

const FROM_LABELS: &[&str] = &["from", "da", "von", "de", "van", "fra", "från", "od", "от", "lähettäjä", "kimden", "差出人", "发件人"];

const OTHER_LABELS: &[&str] = &[
    "sent",
    "date",
    "to",
    "cc",
    "subject",
    "inviato",
    "data",
    "a",
    "oggetto",
    "gesendet",
    "datum",
    "an",
    "betreff",
    "envoyé",
    "à",
    "objet",
    "enviado",
    "enviado el",
    "fecha",
    "para",
    "asunto",
    "assunto",
    "verzonden",
    "aan",
    "onderwerp",
    "sendt",
    "til",
    "emne",
    "skickat",
    "till",
    "ämne",
    "wysłano",
    "do",
    "temat",
    "отправлено",
    "дата",
    "кому",
    "тема",
    "lähetetty",
    "vastaanottaja",
    "aihe",
    "送信日時",
    "宛先",
    "件名",
    "发送时间",
    "收件人",
    "主题",
    "inviato il",
    "per",
    "copia",
    "reply-to",
    "rispondi a",
    "cópia",
    "copie",
    "kopie",
];

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn attributions_of_many_languages_are_quotes() {
        for line in [
            "On Mon, Mar 2, 2026 at 9:00 AM Anna <anna@example.org> wrote:",
            "Il giorno lun 2 mar 2026 alle ore 09:00 Anna Bianchi <anna@example.org> ha\nscritto:",
            "Am 02.03.2026 um 09:00 schrieb Anna <anna@example.org>:",
            "Le lun. 2 mars 2026 à 09:00, Anna <anna@example.org> a écrit :",
            "El lun, 2 mar 2026 a las 9:00, Anna (<anna@example.org>) escribió:",
            "-----Messaggio originale-----",
            "-----Original Message-----",
            "Da: Anna\nInviato: lunedì 2 marzo 2026\nA: Acme\nOggetto: x",
            "*Von:* Anna\n*Gesendet:* Montag\n*An:* Acme\n*Betreff:* x",
        ] {
            let found = split(&format!("Nuovo testo.\n\n{line}\nvecchio testo"));
            assert_eq!(found.visible, "Nuovo testo.", "{line}");
            assert!(found.quoted.is_some_and(|quoted| quoted.ends_with("vecchio testo")), "{line}");
        }
    }

    #[test]
    fn answers_between_quoted_lines_stay_visible() {
        let found = split("Anna wrote 2026-03-02:\n> primo\n\nrisposta uno\n> secondo\nrisposta due");
        assert_eq!(found.visible, "risposta uno\nrisposta due");
        assert_eq!(found.quoted.as_deref(), Some("Anna wrote 2026-03-02:\n> primo\n> secondo"));
    }

    #[test]
    fn a_forwarded_mail_alone_is_what_the_mail_says() {
        let found = split("---------- Forwarded message ---------\nFrom: a@b.c\nDate: x\nSubject: y\n\nHelp");
        assert!(found.visible.ends_with("Help"));
        assert_eq!(found.quoted, None);
    }

    #[test]
    fn ordinary_sentences_are_no_attribution() {
        for text in
            ["On your page somebody wrote:\nnonsense", "Il cliente ha scritto:\nnon funziona", "-- \nAnna", "Da: casa mia\nalle nove\nci vado"]
        {
            assert_eq!(split(text).quoted, None, "{text}");
        }
    }

    #[test]
    fn an_unmarked_sentence_about_somebody_hides_nothing() {
        let text = "Il 2 marzo 2026 il vostro tecnico ha scritto:\ntornate domani. È una vergogna.";
        assert_eq!((split(text).visible.as_str(), split(text).quoted), (text, None));
    }

    #[test]
    fn a_mail_that_is_all_quote_stays_visible() {
        for text in ["> vergogna\n> rimborso", "Il 2 mar 2026 Anna <anna@example.org> ha scritto:\nvergogna", "-----Original Message-----\nvergogna"]
        {
            assert_eq!((split(text).visible.as_str(), split(text).quoted), (text, None));
        }
    }

    #[test]
    fn a_mail_of_nothing_is_nothing() {
        let found = split(" \n\n");
        assert_eq!((found.visible.as_str(), found.quoted), ("", None));
    }
}
