//! Tells what a mail says from what it quotes. Works on lines, in one pass, in the words of the mail programs of about
//! fifteen languages. In doubt a line counts as said: hiding a complaint is worse than reading a quote twice.

/// Longer lines are never an attribution.
const ATTRIBUTION_BYTES_MAX: usize = 400;
/// An attribution may be wrapped over so many lines.
const ATTRIBUTION_LINES_MAX: usize = 4;
/// Labels are looked for in so many lines below Outlook's first, blank ones among them.
const HEADER_LINES_MAX: usize = 12;

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
    let (mut run, mut n_bytes) = (Vec::new(), 0);
    for line in lines.iter().take(ATTRIBUTION_LINES_MAX).map(|line| line.trim()) {
        n_bytes += line.len() + 1;
        if line.is_empty() || line.starts_with('>') || n_bytes > ATTRIBUTION_BYTES_MAX {
            return None;
        }
        run.push(line);
        if line.ends_with([':', '：']) {
            let marked = lines.get(run.len()..)?.iter().map(|l| l.trim()).find(|l| !l.is_empty()).is_some_and(|l| l.starts_with('>'));
            let is_one = begins_at_first(&run) && reads_as_attribution(&run.join(" "), marked);
            return is_one.then_some(Attribution { lines: run.len(), marked });
        }
    }
    None
}

/// Whether the attribution that ends this run of lines begins with the first of them: what stands above it is said. It is the last
/// line alone where that reads so by itself, else from the nearest line above that tells when, unless a sentence ends in between.
fn begins_at_first(run: &[&str]) -> bool {
    let Some((last, above)) = run.split_last() else { return false };
    if reads_as_attribution(last, false) || opens(last) && tells_when(last) {
        return above.is_empty();
    }
    // A name above its address may end as a sentence does: S.p.A.
    let n_whole = usize::from(last.starts_with(['<', '(']));
    let is_sentence = |line: &str| line.ends_with(['.', '!', '?', '…']);
    let wrapped = above.iter().rev().enumerate().take_while(|(n, line)| *n < n_whole || !is_sentence(line)).position(|(_, line)| tells_when(line));
    wrapped.map_or(0, |n| n + 1) == above.len()
}

fn opens(text: &str) -> bool {
    let text = text.to_lowercase();
    OPENINGS.iter().any(|word| text.starts_with(word))
}

/// A year or an hour stands in it.
fn tells_when(line: &str) -> bool {
    let is_year = |number: &str| number.len() == 4 && (number.starts_with("19") || number.starts_with("20"));
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let is_hour = |three: &[u8]| matches!(three, [hour, b':', minute] if is_digit(hour) && is_digit(minute));
    line.split(|c: char| !c.is_ascii_digit()).any(is_year) || line.as_bytes().windows(3).any(is_hour)
}

fn reads_as_attribution(text: &str, marked: bool) -> bool {
    let opens = opens(text);
    let text = text.to_lowercase();
    let says = VERBS.iter().any(|verb| text.contains(verb));
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

/// Outlook's block: `From: … Sent: … To: … Subject: …` in some language, one label a line. A way from here to there has no subject.
fn is_header_block(lines: &[&str]) -> bool {
    let mut lines = lines.iter().map(|line| line.trim().trim_start_matches(['*', ' ', '\u{a0}']));
    if !lines.next().and_then(label).is_some_and(|label| FROM_LABELS.contains(&label.as_str())) {
        return false;
    }
    let labels: Vec<String> = lines.take(HEADER_LINES_MAX).filter_map(label).collect();
    let n_in = |known: &[&str]| labels.iter().filter(|label| known.contains(&label.as_str())).count();
    let (n_subjects, n_others) = (n_in(SUBJECT_LABELS), n_in(OTHER_LABELS));
    n_subjects > 0 && n_subjects + n_others >= 2
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

const SUBJECT_LABELS: &[&str] =
    &["subject", "oggetto", "betreff", "objet", "asunto", "assunto", "onderwerp", "emne", "ämne", "temat", "тема", "aihe", "件名", "主题"];

const OTHER_LABELS: &[&str] = &[
    "sent",
    "date",
    "to",
    "cc",
    "inviato",
    "data",
    "a",
    "gesendet",
    "datum",
    "an",
    "envoyé",
    "à",
    "enviado",
    "enviado el",
    "fecha",
    "para",
    "verzonden",
    "aan",
    "sendt",
    "til",
    "skickat",
    "till",
    "wysłano",
    "do",
    "отправлено",
    "дата",
    "кому",
    "lähetetty",
    "vastaanottaja",
    "送信日時",
    "宛先",
    "发送时间",
    "收件人",
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
    fn what_is_said_directly_above_an_attribution_stays_visible() {
        let attributions = [
            "On Mon, Mar 2, 2026 at 9:00 AM Anna <anna@example.org> wrote:",
            "On Mon, Mar 2, 2026 at 9:00 AM Anna Bianchi <\nanna@example.org> wrote:",
            "Il giorno lun 2 mar 2026 alle ore 09:00 Anna Bianchi <anna@example.org> ha\nscritto:",
            "Il giorno 2 mar 2026, alle ore 09:00, Servizio Clienti\nUfficio Reclami\n<anna@example.org> ha scritto:",
            "Am Mo., 2. März 2026 um 09:00 Uhr schrieb Anna Bianchi <\nanna@example.org>:",
            "Anna Bianchi ha scritto:",
            "Il giorno lun 2 mar 2026 alle ore 09:00 Acme S.p.A.\n<info@acme.example> ha scritto:",
            "2026年3月2日(月) 9:00 Anna\n<anna@example.org>:",
        ];
        for said in ["Il prodotto è rotto", "Non funziona nulla.", "Il mio ordine 12345 non arriva\ndal 2 marzo 2026.\nRimborso!"] {
            for line in attributions {
                let found = split(&format!("{said}\n{line}\n> vecchio testo"));
                assert_eq!(found, super::Split { visible: said.to_owned(), quoted: Some(format!("{line}\n> vecchio testo")) });
            }
            let unmarked = split(&format!("{said}\n{}\nvecchio testo", attributions[1]));
            assert_eq!(unmarked.visible, said);
        }
    }

    #[test]
    fn a_way_from_here_to_there_is_no_header_block() {
        let text = "Il treno è in ritardo.\nDa: Milano\nA: Roma\nData: 3 marzo\nChiedo il rimborso.";
        assert_eq!((split(text).visible.as_str(), split(text).quoted), (text, None));
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
