//! How long X finds a text. It counts weights, not characters: of the composed form (NFC), 1 for most letters, 2 for the others and
//! for a whole emoji, 23 for any address. In doubt this counts more: a text that is found too long goes to a person, one that X
//! finds too long is lost.
//!
//! Source: docs.x.com, "Counting characters" (configuration v3 of twitter-text).

use icu_normalizer::ComposingNormalizerBorrowed;

/// What an address weighs.
const URL_WEIGHT: usize = 23;
/// Characters that weigh 1; all others weigh 2.
const LIGHT: [(u32, u32); 4] = [(0, 0x10FF), (0x2000, 0x200D), (0x2010, 0x201F), (0x2032, 0x2037)];
/// Makes a picture of what is before it.
const PICTURE: char = '\u{FE0F}';
const JOINER: char = '\u{200D}';
const KEYCAP: char = '\u{20E3}';

/// The weighted length of a text.
pub(crate) fn weighted(text: &str) -> usize {
    let text = ComposingNormalizerBorrowed::new_nfc().normalize(text);
    let mut rest: &str = &text;
    let mut before: Option<char> = None;
    let mut weight = 0;
    while let Some(first) = rest.chars().next() {
        let (bytes, more) = match url_bytes(rest, before) {
            Some(bytes) => (bytes, URL_WEIGHT),
            None => match emoji_bytes(rest) {
                Some(bytes) => (bytes, 2),
                None => (first.len_utf8(), of_char(first)),
            },
        };
        weight += more;
        let (passed, after) = rest.split_at(bytes);
        before = passed.chars().next_back();
        rest = after;
    }
    weight
}

fn of_char(c: char) -> usize {
    let code = u32::from(c);
    if LIGHT.iter().any(|(from, to)| (*from..=*to).contains(&code)) { 1 } else { 2 }
}

/// Bytes of the emoji that the text begins with, if it does: with its skin, its joined parts, as a flag or as a keycap.
fn emoji_bytes(text: &str) -> Option<usize> {
    let chars: Vec<(usize, char)> = text.char_indices().take(64).collect();
    let at = |n: usize| chars.get(n).map(|(_, c)| *c);
    let bytes = |n: usize| chars.get(n).map_or_else(|| chars.last().map_or(0, |(at, c)| at + c.len_utf8()), |(at, _)| *at);
    let first = at(0)?;
    if is_flag_letter(first) {
        return Some(bytes(if at(1).is_some_and(is_flag_letter) { 2 } else { 1 }));
    }
    if first.is_ascii_digit() || matches!(first, '#' | '*') {
        let n = 1 + usize::from(at(1) == Some(PICTURE));
        return (at(n) == Some(KEYCAP)).then(|| bytes(n + 1));
    }
    let mut n = one_picture(&at, 0)?;
    while at(n) == Some(JOINER)
        && let Some(next) = one_picture(&at, n + 1)
    {
        n = next;
    }
    Some(bytes(n))
}

/// Past one picture with what belongs to it alone.
fn one_picture(at: &impl Fn(usize) -> Option<char>, n: usize) -> Option<usize> {
    let first = at(n)?;
    let is_made_one = at(n + 1) == Some(PICTURE);
    let is_sign = matches!(first, '©' | '®') && is_made_one;
    if !is_picture(first) && !is_sign {
        return None;
    }
    let mut n = n + 1;
    while at(n).is_some_and(|c| c == PICTURE || is_skin(c) || is_tag(c)) {
        n += 1;
    }
    Some(n)
}

fn is_flag_letter(c: char) -> bool {
    ('\u{1F1E6}'..='\u{1F1FF}').contains(&c)
}

fn is_skin(c: char) -> bool {
    ('\u{1F3FB}'..='\u{1F3FF}').contains(&c)
}

/// Of the flags of England, Scotland and Wales.
fn is_tag(c: char) -> bool {
    ('\u{E0020}'..='\u{E007F}').contains(&c)
}

/// Where Unicode keeps pictures, be they shown as one or as a sign: all of them weigh 2.
fn is_picture(c: char) -> bool {
    matches!(c,
        '\u{203C}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{21FF}' | '\u{2300}'..='\u{23FF}' | '\u{24C2}'
        | '\u{25A0}'..='\u{27BF}' | '\u{2934}' | '\u{2935}' | '\u{2B00}'..='\u{2BFF}' | '\u{3030}' | '\u{303D}' | '\u{3297}' | '\u{3299}'
        | '\u{1F000}'..='\u{1FAFF}')
}

/// Says whether X would shorten something in this word.
pub(crate) fn has_address(word: &str) -> bool {
    let before = |at: usize| word.get(..at).unwrap_or_default().chars().next_back();
    word.char_indices().any(|(at, _)| word.get(at..).is_some_and(|rest| url_bytes(rest, before(at)).is_some()))
}

/// Bytes of the address that the text begins with, if it does; `before` is the character in front of it.
fn url_bytes(text: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(|c| c.is_ascii_alphanumeric() || "@＠$#＃_".contains(c)) {
        return None;
    }
    let is_scheme = |scheme: &str| text.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme));
    let scheme = ["https://", "http://"].into_iter().find(|scheme| is_scheme(scheme)).map_or(0, str::len);
    // Without a scheme `-`, `.` and `/` in front belong to something else.
    if scheme == 0 && before.is_some_and(|c| "-./".contains(c)) {
        return None;
    }
    let domain = domain_bytes(text.get(scheme..)?, scheme > 0)?;
    let end = scheme + domain;
    let rest = text.get(end..)?;
    if scheme == 0 && rest.starts_with('@') {
        return None;
    }
    let port = rest.strip_prefix(':').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let end = if port > 0 { end + 1 + port } else { end };
    Some(end + path_bytes(text.get(end..)?))
}

/// The longest beginning of labels that ends in a top level.
fn domain_bytes(text: &str, has_scheme: bool) -> Option<usize> {
    let is_label = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || (has_scheme && c.is_alphabetic() && of_char(c) == 1);
    let run: usize = text.chars().take_while(|c| is_label(*c) || *c == '.').map(char::len_utf8).sum();
    let host = text.get(..run)?;
    let mut best = None;
    let mut end = 0;
    for (n, label) in host.split('.').enumerate() {
        let is_whole = !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
        if !is_whole {
            break;
        }
        end += label.len() + usize::from(n > 0);
        if n > 0 && is_top_level(label) {
            best = Some(end);
        }
    }
    best
}

/// `/…`, `?…` or `#…` without the full stop or bracket that closes the sentence around it.
fn path_bytes(text: &str) -> usize {
    if !text.starts_with(['/', '?']) {
        return 0;
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!*';:=+,.$/%#[]-_~@|&()?".contains(c) || (c.is_alphabetic() && of_char(c) == 1);
    let run: usize = text.chars().take_while(|c| allowed(*c)).map(char::len_utf8).sum();
    let whole = text.get(..run).unwrap_or_default();
    let mut path = whole;
    loop {
        let opened = path.matches('(').count();
        let cut = match path.chars().next_back() {
            Some('.' | ',' | ';' | ':' | '!' | '?' | '\'' | ']' | '[') => path.get(..path.len() - 1),
            Some(')') if path.matches(')').count() > opened => path.get(..path.len() - 1),
            _ => None,
        };
        match cut {
            Some(shorter) if !shorter.is_empty() => path = shorter,
            _ => return path.len(),
        }
    }
}

/// Every country has two letters; of the others, those that are met. One that is missing here is counted by its letters.
fn is_top_level(label: &str) -> bool {
    let label = label.to_ascii_lowercase();
    let is_country = label.len() == 2 && label.bytes().all(|byte| byte.is_ascii_lowercase());
    is_country || label.starts_with("xn--") || TOP_LEVELS.split(' ').any(|known| known == label)
}

/// Apart by a blank. Source: IANA, "Root Zone Database", without brands.
const TOP_LEVELS: &str = "\
    academy accountant accountants actor ads aero africa agency airforce amsterdam apartments app archi army arpa art asia associates \
    attorney auction audio auto autos baby band bank bar barcelona bargains bayern beer berlin best bet bible bid bike bingo bio biz black \
    blackfriday blog blue boats boo book boutique box broker brussels build builders business buy buzz bzh cab cafe cam camera \
    camp capetown capital car cards care career careers cars casa case cash casino cat catering catholic center charity chat cheap \
    christmas church citic city claims cleaning click clinic clothing cloud club coffee college cologne com community company computer \
    condos construction consulting contact contractors cooking cool coop corsica country coupon coupons courses credit creditcard cricket \
    cruises cymru cyou dad dance data date dating day dds deal dealer deals degree delivery democrat dental dentist desi design dev \
    diamonds diet digital direct directory discount doctor dog domains download durban earth eco edu education email energy engineer \
    engineering enterprises equipment esq estate eus events exchange expert exposed express fail faith family fan fans farm fashion \
    feedback film finance financial fish fishing fit fitness flights florist flowers fly foo food football forex forsale forum foundation \
    free frl fun fund furniture futbol fyi gallery game games garden gay gent gift gifts gives giving glass global gmbh gmx gold golf goo \
    gop gov graphics gratis green gripe grocery group guide guitars guru hair hamburg haus health healthcare help hiphop hiv hockey \
    holdings holiday homes horse hospital host hosting hot hotel house how icu immo immobilien inc industries info ing ink \
    institute insurance insure int international investments irish ist istanbul java jetzt jewelry jobs joburg joy juegos kaufen kids kim \
    kitchen kiwi koeln kyoto land lat latino law lawyer lease legal lgbt life lighting limited limo link live living llc llp loan loans lol \
    london lotto love ltd ltda luxe luxury madrid maison makeup management map market marketing markets mba media meet melbourne meme \
    memorial men menu miami mil mobi moda moe mom monster mortgage moscow moto motorcycles mov movie museum music nagoya name navy net \
    network new news nexus ngo ninja now nrw nyc office okinawa one ong onl online ooo org organic osaka ovh page paris partners \
    parts party pay pet pharmacy phd phone photo photography photos physio pics pictures pink pizza place plumbing plus poker porn press \
    pro productions prof promo properties property protection pub qpon quebec racing radio realestate realtor realty recipes red rehab \
    reise reisen ren rent rentals repair report republican rest restaurant review reviews rich rip rocks rodeo room rsvp rugby ruhr run \
    ryukyu saarland sale salon sarl save sbs school schule science scot search secure security select services sex sexy shoes shop shopping \
    show shows singles site ski skin smart soccer social software solar solutions soy spa space sport spot srl storage store stream studio \
    study style sucks supplies supply support surf surgery swiss sydney systems taipei talk tatar tattoo tax taxi team tech technology tel \
    tennis theater theatre tickets tienda tips tires tirol today tokyo tools top toronto tours town toys trade trading training travel tube \
    university uno vacations vegas ventures versicherung vet viajes video villas vin vip vision vlaanderen vodka vote voting voto voyage \
    wales wang watch watches weather webcam website wed wedding wien wiki win wine work works world wow wtf xin xxx xyz yachts yoga \
    yokohama you zero zip zone zuerich";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_x_would_shorten_is_seen_with_and_without_a_scheme() {
        for word in ["https://acme.com/x", "(https://t.co/abc)", "acme.com/help", "acme.com", "siehe:t.co/abc"] {
            assert!(has_address(word), "{word}");
        }
        for word in ["ciao", "18:00", "e.g", "@acme", "anna@acme.com", "..."] {
            assert!(!has_address(word), "{word}");
        }
    }

    #[test]
    fn letters_weigh_one_and_ideographs_two() {
        for (text, weight) in [
            ("", 0),
            ("ciao", 4),
            ("perché", 6),
            ("Привет", 6),
            ("γειά", 4),
            ("שלום", 4),
            ("你好", 4),
            ("こんにちは", 10),
            ("안녕", 4),
            ("… – — “”", 2 + 7),
            ("€", 2),
            ("a\u{200B}b\n", 4),
        ] {
            assert_eq!(weighted(text), weight, "{text}");
        }
    }

    #[test]
    fn the_composed_form_is_what_counts() {
        assert_eq!((weighted("cafe\u{301}"), weighted("café")), (4, 4));
        // Three parts of one Korean syllable.
        assert_eq!((weighted("\u{1112}\u{1161}\u{11AB}"), weighted("한")), (2, 2));
    }

    #[test]
    fn an_emoji_weighs_two_however_it_is_put_together() {
        for emoji in
            ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇮🇹", "🏴\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}\u{E007F}", "1️⃣", "#⃣", "❤️", "☺", "©️", "👩🏿‍🚒", "🫶🏻"]
        {
            assert_eq!(weighted(emoji), 2, "{emoji}");
            assert_eq!(weighted(&format!("a{emoji}b{emoji}")), 6, "{emoji}");
        }
        assert_eq!((weighted("12"), weighted("🇮🇹🇫🇷"), weighted("🇮"), weighted("👍\u{200D}a")), (2, 4, 2, 4));
    }

    #[test]
    fn an_address_weighs_twenty_three_whatever_it_is() {
        let long = format!("https://acme.test.example.com/{}?q=1#top", "x".repeat(300));
        for url in [
            long.as_str(),
            "http://a.it",
            "HTTPS://ACME.COM",
            "acme.com",
            "www.acme.it/chi-siamo",
            "https://acme.com:8080/a_(b)",
            "t.co/abc",
            "https://caffè.it",
            "acme.support/it",
            "acme.xyz",
            "moda.swiss",
            "go.travel",
        ] {
            assert_eq!(weighted(url), 23, "{url}");
            assert_eq!(weighted(&format!("Vedi {url}, o ({url}).")), 5 + 23 + 5 + 23 + 2, "{url}");
        }
        for (text, weight) in [
            ("info@acme.com", 13),
            ("@acme.com", 9),
            ("fine.Grazie", 11),
            ("3.14", 4),
            ("http://localhost/x", 18),
            ("https://acme.com/。", 25),
            ("acme.com你好", 27),
        ] {
            assert_eq!(weighted(text), weight, "{text}");
        }
    }

    #[test]
    fn a_whole_post_is_counted_to_the_last_sign() {
        let text = format!("@anna Ciao! 👨‍👩‍👧‍👦 你好 https://acme.example.com/{} {}", "x".repeat(100), "é".repeat(236));
        assert_eq!(weighted(&text), 6 + 6 + 2 + 1 + 4 + 1 + 23 + 1 + 236);
    }
}
