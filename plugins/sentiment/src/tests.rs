//! What the rules do to words.

use membrana_sdk::analyzer::{Batch, Item};
use membrana_sdk::{Analyzer as _, Annotation, Value};

use crate::{Language, Sentiment, score};

fn en(text: &str) -> f64 {
    score(Language::English, text).unwrap()
}

fn it(text: &str) -> f64 {
    score(Language::Italian, text).unwrap()
}

#[test]
fn weights_are_those_of_vader_on_its_own_examples() {
    // Source: the examples in VADER's README.
    for (text, expected) in [
        ("VADER is smart, handsome, and funny.", 0.8316),
        ("VADER is smart, handsome, and funny!", 0.8439),
        ("VADER is very smart, handsome, and funny.", 0.8545),
        ("VADER is VERY SMART, handsome, and FUNNY.", 0.9227),
        ("VADER is not smart, handsome, nor funny.", -0.7424),
        ("The book was good.", 0.4404),
        ("At least it isn't a horrible book.", 0.431),
        ("Today SUX!", -0.5461),
    ] {
        assert!((en(text) - expected).abs() < 0.02, "{text}: {} instead of {expected}", en(text));
    }
}

#[test]
fn italian_knows_negation_intensity_and_contrast() {
    assert!(it("Servizio pessimo, è una vergogna!") < -0.6);
    assert!(it("Servizio ottimo, grazie mille!") > 0.5);
    assert!(it("Il servizio non è ottimo.") < 0.0);
    assert!(it("Molto gentile") > it("Gentile"));
    assert!(it("Personale gentile ma servizio pessimo") < 0.0);
    assert!(it("Che delusione 😡") < it("Che delusione"));
    assert!(it("Ho pagato due volte e nessuno risponde. Vergogna!") < -0.2, "a negation ends with its sentence");
    assert!(it("Non è mai stato gentile") < 0.0 && it("Nessuno è stato mai cortese") < 0.0, "two negations are one");
    assert!(it("Non mi avete mai deluso") > 0.0);
    assert!(it("L'app non funziona") < 0.0, "a phrase is not turned round by its own negation");
    assert!(it("Camere sporche") < 0.0 && it("Bravissime") > it("Brave"), "endings");
}

#[test]
fn what_is_denied_is_no_blame() {
    for text in ["No problem at all, thanks!", "No complaints, great service", "no real problem here", "No harm or damage"] {
        assert!(en(text) > 0.0, "{text}: {}", en(text));
    }
    assert!(en("No, it is great") > 0.3 && en("No. Great shop") > 0.3, "such a `no` denies nothing that follows");
    assert!(en("no no no") < -0.3 && en("There is no good reason") < 0.0);
    for text in ["Senza dubbio il migliore", "Niente di meglio", "Nessun problema, ottimi"] {
        assert!(it(text) > 0.3, "{text}: {}", it(text));
    }
    assert!(it("Niente di gentile") < 0.0 && it("Senza una risposta gentile") < 0.0);
}

#[test]
fn a_handle_says_nothing() {
    assert_eq!(en("@best hello there, see you tomorrow"), en("@acme hello there, see you tomorrow"));
    assert_eq!(it("@pessimo ci vediamo domani"), 0.0);
    assert_eq!(it("@vergognosi ci vediamo domani"), 0.0, "nor in another form");
    assert_eq!(Language::guessed("@the_best @is @was pessimo"), Some(Language::Italian));
}

fn item(text: &str, language: Option<&str>) -> Item {
    Item { language: language.map(str::to_owned), ..membrana_sdk::testing::item(text) }
}

#[test]
fn it_abstains_where_it_knows_no_words() {
    let huge = "ottimo ".repeat(200_000);
    let items =
        vec![item("Schrecklich!", Some("de")), item("Xyz", None), item("Pessimo", Some("it-CH")), item(" \0 ", Some("en")), item(&huge, Some("it"))];
    let said = Sentiment::analyze(&Batch { channel: "x".to_owned(), kind: "post".to_owned(), items }).unwrap();
    assert_eq!(said.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 1, 0, 1]);
}

#[test]
fn undeclared_texts_and_subjects_are_read_too() {
    let mut mail = item("In allegato la foto.", Some("it"));
    mail.subject = Some("Servizio pessimo".to_owned());
    let items = vec![
        mail,
        item("Pessimo", None),
        item("Il vostro servizio è pessimo", None),
        item("This is a terrible service", None),
        item("😡😡😡", None),
        item("@acme 😡😡😡", None),
        item("Der Service ist schrecklich und nicht gut", None),
    ];
    let said = Sentiment::analyze(&Batch { channel: "x".to_owned(), kind: "mail".to_owned(), items }).unwrap();
    let is_bad = |said: &Vec<Annotation>| matches!(said.as_slice(), [Annotation { value: Value::Number(number), .. }] if *number < -0.3);
    assert_eq!(said.iter().map(is_bad).collect::<Vec<_>>(), [true, true, true, true, true, true, false]);
    assert!(said[6].is_empty());
}
