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
}

fn item(text: &str, language: Option<&str>, earlier: Vec<Annotation>) -> Item {
    Item { subject: None, text: text.to_owned(), language: language.map(str::to_owned), occurred: 0, earlier, author: None, attachments: Vec::new() }
}

#[test]
fn it_abstains_where_it_knows_no_words() {
    let told = Annotation { key: "language".to_owned(), value: Value::Text("it-CH".to_owned()), confidence: None };
    let huge = "ottimo ".repeat(200_000);
    let items = vec![
        item("Schrecklich!", Some("de"), vec![]),
        item("Pessimo", None, vec![]),
        item("Pessimo", None, vec![told]),
        item(" \0 ", Some("en"), vec![]),
        item(&huge, Some("it"), vec![]),
    ];
    let said = Sentiment::analyze(&Batch { channel: "x".to_owned(), kind: "post".to_owned(), items }).unwrap();
    assert_eq!(said.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 1, 0, 1]);
}
