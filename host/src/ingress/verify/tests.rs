//! Every scheme against right, wrong, missing, stale, replayed, rotated, re-written, cut and differently written proofs. No code below is
//! made by what it tests: they are published vectors, or were made by another implementation of HMAC.

use super::*;

const NOW: Timestamp = Timestamp(1_614_265_330_000);
const BODY: &str = r#"{"id":1890000000000000002,"text":"perché?"}"#;
/// The same JSON, written anew by somebody.
const REWRITTEN: &str = r#"{"id": 1890000000000000002, "text": "perch\u00e9?"}"#;

/// HMAC of `BODY` by the secrets `new-secret` and `old-secret`, which are live, and `gone-secret`, which is not.
const NEW_HEX: &str = "d44542a1ea1ae197108fe73c41a30eb05813995b46ee3fb24f43a93e8bf23178";
const OLD_HEX: &str = "a71c46519948b17d00029a880d42034e3680da92c83964eab3ff95a761733659";
const GONE_HEX: &str = "1517a0db22e89d5935b492057bebc00760bf4a78274f3e9e0937b99be337ac0b";
const NEW_B64: &str = "1EVCoeoa4ZcQj+c8QaMOsFgTmVtG7j+yT0OpPovyMXg=";
const OLD_B64: &str = "pxxGUZlIsX0AApqIDUIDTjaA2pLIOWTqs/+Vp2FzNlk=";
const GONE_B64: &str = "FReg2yLonVk1tJIFe+vAB2C/SngnTz6eCTe5m+M3rAs=";

/// Source: RFC 2202 and RFC 4231, test case 2, whose secret is `Jefe`.
const RFC_BODY: &str = "what do ya want for nothing?";
const RFC_SHA1: &str = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
const RFC_SHA256: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
const RFC_SHA384: &str = "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649";
const RFC_SHA512: &str =
    "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737";

/// Source: GitHub, "Validating webhook deliveries", whose header and code are those of Meta.
const HUB_BODY: &str = "Hello, World!";
const HUB_HEX: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

fn setup(scheme: Scheme) -> Setup<'static> {
    let secrets = match scheme {
        // Source: the library of Standard Webhooks.
        Scheme::StandardWebhooks => vec!["another", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        _ => vec!["new-secret", "old-secret", "Jefe", "It's a Secret to Everybody", "12345"],
    };
    let topics = vec!["https://blog.example/feed?a=1&b=2".to_owned()];
    let url = "https://mycompany.com/myapp.php".to_owned();
    Setup { scheme, secrets, verify_tokens: vec!["vt-new", "vt-old"], topics, field: "secret".to_owned(), url }
}

type Headers<'a> = &'a [(&'a str, &'a str)];

fn incoming(path: &str, headers: Headers<'_>, body: &str) -> Incoming {
    Incoming {
        method: "POST".to_owned(),
        path_with_query: path.to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: body.as_bytes().to_vec(),
    }
}

/// What is tried, how it comes, and what is said of it.
type Case<'a> = (&'static str, &'a str, Headers<'a>, &'a str, Result<Option<&'a str>, Refusal>);

fn check(scheme: Scheme, cases: &[Case<'_>]) {
    let verifier = Verifier::new(setup(scheme));
    for (what, path, headers, body, expected) in cases {
        let expected = expected.map(|id| Verdict::Believed(id.map(str::to_owned)));
        let request = incoming(path, headers, body);
        assert_eq!(verifier.verify(&request, NOW), expected, "{scheme}: {what}");
        assert_eq!(verifier.verify(&request, NOW), expected, "{scheme}: {what}, played again");
        let strangers = Verifier::new(Setup { secrets: vec!["a-stranger's"], ..setup(scheme) });
        assert!(scheme == Scheme::None || strangers.verify(&request, NOW).is_err(), "{scheme}: {what}, by a stranger's secret");
        let open = Verifier::new(Setup { secrets: Vec::new(), ..setup(scheme) });
        assert!(scheme == Scheme::None || open.verify(&request, NOW).is_err(), "{scheme}: {what}, without any secret");
    }
}

#[test]
fn standard_webhooks_are_believed_by_their_signature_and_time() {
    let (id, at, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", r#"{"test": 2432232314}"#);
    let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let (at_edge, edge) = ("1614265630", "v1,oyLs6Hby/GAMWTm5rGjFbRGSTs+49Naq2VregV+YfPQ=");
    let (at_future, future) = ("1614265931", "v1,wigbFzL2kZuIdPXjT5Z8lFCDi099Hu6zem4Jtommc+o=");
    let (at_past, past) = ("1614264000", "v1,qAMLr93A9N3+GeUMJxEAF0c4ekbrVP/2ltdQ1MKrdj4=");
    let both = format!("v1,AAAA v2,xyz {good}");
    let many = format!("{}{good}", "v1,AAAA ".repeat(SIGNATURES_MAX));
    let long = "m".repeat(ID_BYTES_MAX + 1);
    let missing = |name| Err(Refusal::Header(name));
    let (i, t, s) = ("webhook-id", "webhook-timestamp", "webhook-signature");
    check(
        Scheme::StandardWebhooks,
        &[
            ("right", "", &[(i, id), (t, at), (s, good)], body, Ok(Some(id))),
            ("names in upper case", "", &[("Webhook-Id", id), ("WEBHOOK-TIMESTAMP", at), ("Webhook-Signature", good)], body, Ok(Some(id))),
            ("among others", "", &[(i, id), (t, at), (s, &both)], body, Ok(Some(id))),
            ("after too many others", "", &[(i, id), (t, at), (s, &many)], body, Err(Refusal::Signature)),
            ("at the edge of time", "", &[(i, id), (t, at_edge), (s, edge)], body, Ok(Some(id))),
            ("from the future", "", &[(i, id), (t, at_future), (s, future)], body, Err(Refusal::Stale)),
            ("stale, well signed", "", &[(i, id), (t, at_past), (s, past)], body, Err(Refusal::Stale)),
            ("another time over an old signature", "", &[(i, id), (t, at_edge), (s, good)], body, Err(Refusal::Signature)),
            ("another id", "", &[(i, "other"), (t, at), (s, good)], body, Err(Refusal::Signature)),
            ("rewritten", "", &[(i, id), (t, at), (s, good)], r#"{"test":2432232314}"#, Err(Refusal::Signature)),
            ("cut", "", &[(i, id), (t, at), (s, "v1,g0hM9SsE+OTPJTGt")], body, Err(Refusal::Signature)),
            ("rubbish", "", &[(i, id), (t, at), (s, "rubbish")], body, Err(Refusal::Signature)),
            ("no time", "", &[(i, id), (s, good)], body, missing(t)),
            ("time in words", "", &[(i, id), (t, "now"), (s, good)], body, missing(t)),
            ("no id", "", &[(t, at), (s, good)], body, missing(i)),
            ("empty id", "", &[(i, ""), (t, at), (s, good)], body, missing(i)),
            ("endless id", "", &[(i, &long), (t, at), (s, good)], body, missing(i)),
            ("no signature", "", &[(i, id), (t, at)], body, missing(s)),
        ],
    );
}

#[test]
fn x_is_believed_by_base64_over_the_body() {
    let name = "x-twitter-webhooks-signature";
    let code = |code: &str| format!("sha256={code}");
    let (new, old, gone, hex) = (code(NEW_B64), code(OLD_B64), code(GONE_B64), code(NEW_HEX));
    let missing = || Err(Refusal::Header(name));
    check(
        Scheme::X,
        &[
            ("right", "", &[(name, &new)], BODY, Ok(None)),
            ("name and label in upper case", "", &[("X-Twitter-Webhooks-Signature", &format!("SHA256={NEW_B64}"))], BODY, Ok(None)),
            ("the secret before", "", &[(name, &old)], BODY, Ok(None)),
            ("a secret that is gone", "", &[(name, &gone)], BODY, Err(Refusal::Signature)),
            ("rewritten", "", &[(name, &new)], REWRITTEN, Err(Refusal::Signature)),
            ("one byte more", "", &[(name, &new)], &format!("{BODY}\n"), Err(Refusal::Signature)),
            ("hex", "", &[(name, &hex)], BODY, Err(Refusal::Signature)),
            ("cut", "", &[(name, "sha256=1EVCoeoa4ZcQj+c8")], BODY, Err(Refusal::Signature)),
            ("cut inside four letters", "", &[(name, "sha256=1EVCoeoa4ZcQj+c")], BODY, missing()),
            ("empty", "", &[(name, "sha256=")], BODY, missing()),
            ("no label", "", &[(name, NEW_B64)], BODY, missing()),
            ("another hash", "", &[(name, "sha1=f56rMhDEkTBikCQi9eButRP58ALg")], BODY, Err(Refusal::Hash)),
            ("none", "", &[], BODY, missing()),
            // The code is right, but anybody can have it made by asking us a challenge.
            ("a challenge as a delivery", "", &[(name, "sha256=26wZX2WQbwj3NHbsQArce/Rq8POBu47bYuE8UvdPZK0=")], "token12", Err(Refusal::Signature)),
        ],
    );
}

#[test]
fn meta_is_believed_by_sha256_in_hex_alone() {
    let name = "x-hub-signature-256";
    let code = |code: &str| format!("sha256={code}");
    let (hub, new, old, gone) = (code(HUB_HEX), code(NEW_HEX), code(OLD_HEX), code(GONE_HEX));
    let missing = || Err(Refusal::Header(name));
    check(
        Scheme::Meta,
        &[
            ("the published one", "", &[(name, &hub)], HUB_BODY, Ok(None)),
            ("right", "", &[(name, &new)], BODY, Ok(None)),
            ("in upper case", "", &[("X-Hub-Signature-256", &code(&NEW_HEX.to_uppercase()))], BODY, Ok(None)),
            ("the secret before", "", &[(name, &old)], BODY, Ok(None)),
            ("a secret that is gone", "", &[(name, &gone)], BODY, Err(Refusal::Signature)),
            ("rewritten", "", &[(name, &new)], REWRITTEN, Err(Refusal::Signature)),
            ("cut", "", &[(name, new.get(..40).unwrap())], BODY, missing()),
            ("cut by a byte", "", &[(name, new.get(..new.len() - 2).unwrap())], BODY, Err(Refusal::Signature)),
            ("no hex", "", &[(name, &code(&NEW_HEX.replace('d', "g")))], BODY, missing()),
            ("base64", "", &[(name, &code(NEW_B64))], BODY, missing()),
            ("the old header alone", "", &[("x-hub-signature", "sha1=7f9eab3210c14913062902422f5e6ed13f9f002e")], BODY, missing()),
            ("the old hash", "", &[(name, "sha1=7f9eab3210c14913062902422f5e6ed13f9f002e")], BODY, Err(Refusal::Hash)),
            ("none", "", &[], BODY, missing()),
        ],
    );
}

#[test]
fn discourse_s_ids_count_only_together_with_the_body() {
    let (name, id) = ("x-discourse-event-signature", "x-discourse-event-id");
    let (new, ping) = (format!("sha256={NEW_HEX}"), "sha256=df2ae6fd7ffcf77a501ee1fb9c5b16c6646557403a80cc1455f86606c67571bc");
    let hub = format!("sha256={HUB_HEX}");
    let once = |id: &str, body: &str| format!("{id} {}", crate::model::Digest::of(body.as_bytes()));
    let long = "7".repeat(ID_BYTES_MAX + 1);
    check(
        Scheme::Discourse,
        &[
            ("right", "", &[(name, &new), (id, "71")], BODY, Ok(Some(&once("71", BODY)))),
            ("another body under the same id", "", &[(name, &hub), (id, "71")], HUB_BODY, Ok(Some(&once("71", HUB_BODY)))),
            ("no id", "", &[(name, &new)], BODY, Ok(None)),
            ("endless id", "", &[(name, &new), (id, &long)], BODY, Ok(None)),
            ("rewritten", "", &[(name, &new), (id, "71")], REWRITTEN, Err(Refusal::Signature)),
            ("none", "", &[(id, "71")], BODY, Err(Refusal::Header(name))),
            ("a ping that is not signed", "", &[(name, &new)], r#"{"ping":"OK"}"#, Err(Refusal::Signature)),
        ],
    );
    assert_ne!(once("71", BODY), once("71", HUB_BODY));
    let verifier = Verifier::new(setup(Scheme::Discourse));
    assert_eq!(verifier.verify(&incoming("", &[(name, ping)], r#"{"ping":"OK"}"#), NOW), Ok(Verdict::Ping));
}

#[test]
fn linkedin_is_believed_in_both_forms() {
    let name = "x-li-signature";
    let inner = "158f6f917ba6d2ff3b602b4d6124a0c5ae03d0848512b2e33be0c9b26f68c45f";
    let outer = format!("hmacsha256={NEW_HEX}");
    check(
        Scheme::LinkedIn,
        &[
            ("label outside", "", &[(name, &outer)], BODY, Ok(None)),
            ("label inside", "", &[(name, inner)], BODY, Ok(None)),
            ("in upper case", "", &[("X-LI-Signature", &inner.to_uppercase())], BODY, Ok(None)),
            ("label inside, the secret before", "", &[(name, "c29f21d0dd4b34e2db48be50fc6f9aed191849f147d05cb5472c213a91f67b68")], BODY, Ok(None)),
            (
                "a secret that is gone",
                "",
                &[(name, "1d833ddff06b6390929ee73267f171f0c0434b8162d7fcfeebd2429ccebc5ec8")],
                BODY,
                Err(Refusal::Signature),
            ),
            ("label nowhere", "", &[(name, NEW_HEX)], BODY, Err(Refusal::Signature)),
            ("label twice", "", &[(name, &format!("hmacsha256={inner}"))], BODY, Err(Refusal::Signature)),
            ("rewritten", "", &[(name, inner)], REWRITTEN, Err(Refusal::Signature)),
            ("cut", "", &[(name, inner.get(..32).unwrap())], BODY, Err(Refusal::Signature)),
            ("none", "", &[], BODY, Err(Refusal::Header(name))),
            (
                "a challenge as a delivery",
                "",
                &[(name, "hmacsha256=dbac195f65906f08f73476ec400adc7bf46af0f381bb8edb62e13c52f74f64ad")],
                "token12",
                Err(Refusal::Signature),
            ),
            (
                "a challenge with the label as a delivery",
                "",
                &[(name, "39ff43e75912e438f1cb76458dc0bba400b3739872b67e6088b08b56b108a6f4")],
                "token12",
                Err(Refusal::Signature),
            ),
        ],
    );
}

#[test]
fn telegram_is_believed_by_the_whole_token() {
    let name = TELEGRAM_TOKEN;
    check(
        Scheme::Telegram,
        &[
            ("right", "", &[(name, "new-secret")], BODY, Ok(None)),
            ("name in upper case", "", &[("X-Telegram-Bot-Api-Secret-Token", "new-secret")], BODY, Ok(None)),
            ("the token before", "", &[(name, "old-secret")], BODY, Ok(None)),
            ("another", "", &[(name, "gone-secret")], BODY, Err(Refusal::Signature)),
            ("cut", "", &[(name, "new-secre")], BODY, Err(Refusal::Signature)),
            ("longer", "", &[(name, "new-secrets")], BODY, Err(Refusal::Signature)),
            ("in upper case", "", &[(name, "NEW-SECRET")], BODY, Err(Refusal::Signature)),
            ("empty", "", &[(name, "")], BODY, Err(Refusal::Signature)),
            ("none", "", &[], BODY, Err(Refusal::Header(name))),
        ],
    );
}

#[test]
fn hubs_choose_their_hash_and_zammad_has_one() {
    let name = "x-hub-signature";
    let [sha1, sha256, sha384, sha512] =
        [("sha1", RFC_SHA1), ("sha256", RFC_SHA256), ("sha384", RFC_SHA384), ("sha512", RFC_SHA512)].map(|(hash, code)| format!("{hash}={code}"));
    check(
        Scheme::WebSub,
        &[
            ("sha1", "", &[(name, &sha1)], RFC_BODY, Ok(None)),
            ("sha256", "", &[(name, &sha256)], RFC_BODY, Ok(None)),
            ("sha384", "", &[(name, &sha384)], RFC_BODY, Ok(None)),
            ("sha512", "", &[(name, &sha512)], RFC_BODY, Ok(None)),
            ("in upper case", "", &[("X-Hub-Signature", &sha512.to_uppercase())], RFC_BODY, Ok(None)),
            ("the secret before", "", &[(name, &format!("sha256={OLD_HEX}"))], BODY, Ok(None)),
            ("one hash under the name of another", "", &[(name, &format!("sha512={RFC_SHA256}"))], RFC_BODY, Err(Refusal::Signature)),
            ("a hash that is broken", "", &[(name, "md5=750c783e6ab0b503eaa86e310a5db738")], RFC_BODY, Err(Refusal::Header(name))),
            ("rewritten", "", &[(name, &sha256)], "what do ya want for nothing", Err(Refusal::Signature)),
            ("cut", "", &[(name, sha512.get(..71).unwrap())], RFC_BODY, Err(Refusal::Signature)),
            ("none", "", &[], RFC_BODY, Err(Refusal::Header(name))),
        ],
    );
    check(
        Scheme::Zammad,
        &[
            ("right", "", &[(name, &sha1)], RFC_BODY, Ok(None)),
            ("the secret before", "", &[(name, "sha1=059c36ce5bb2dcf6733a2e9fc69c1fa2caf564ce")], BODY, Ok(None)),
            ("a secret that is gone", "", &[(name, "sha1=bcbeb9aad076589205ef6fa66899295aafd564fe")], BODY, Err(Refusal::Signature)),
            ("a hash that it does not use", "", &[(name, &sha256)], RFC_BODY, Err(Refusal::Hash)),
            ("none", "", &[], RFC_BODY, Err(Refusal::Header(name))),
        ],
    );
}

/// Source: the vectors of Twilio's own libraries, whose token is `12345`.
#[test]
fn twilio_is_believed_by_address_and_fields() {
    let (name, form) = ("x-twilio-signature", ("content-type", "application/x-www-form-urlencoded; charset=UTF-8"));
    let query = "?foo=1&bar=2";
    let fields = "To=%2B18005551212&Digits=1234&From=%2B14158675309&Caller=%2B14158675309&CallSid=CA1234567890ABCDE";
    let good = (name, "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    let (json, json_body) = ((name, "a9nBmqA0ju/hNViExpshrM61xv4="), r#"{"property": "value", "boolean": true}"#);
    let json_query = "?foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    let json_type = ("content-type", "application/json");
    let (repeated, repeats) = ((name, "IK+Dwps556ElfBT0I3Rgjkr1wJU="), "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234");
    let url_alone = (name, "zYQTYrRWXE7LtzbG4PfP7/bkkGo=");
    let (wrong, uncovered) = (|| Err(Refusal::Signature), || Err(Refusal::Uncovered));
    let endless = "a=1&".repeat(2000);
    check(
        Scheme::Twilio,
        &[
            ("the published one", query, &[form, good], fields, Ok(None)),
            ("the published one with repeats", query, &[form, repeated], repeats, Ok(None)),
            ("the published one of JSON", json_query, &[json_type, json], json_body, Ok(None)),
            ("name in upper case", query, &[form, ("X-Twilio-Signature", good.1)], fields, Ok(None)),
            ("signed with the port", query, &[form, (name, "kvajT1Ptam85bY51eRf/AJRuM3w=")], fields, Ok(None)),
            (
                "signs and letters",
                query,
                &[form, (name, "YYjJc1Q3sqmW3z+bnR2Fd4eRPEg=")],
                "From=%2B39&Body=perch%C3%A9%3F+%F0%9F%98%80+a%26b%3Dc",
                Ok(None),
            ),
            ("a path as it was written", "/caf%C3%A9?x=%2F", &[form, (name, "46YPMhhpdMHZUGDCn9jcgc4vm+E=")], "From=%2B39", Ok(None)),
            ("nothing but an address", query, &[url_alone], "", Ok(None)),
            ("another field", query, &[form, good], &fields.replace("1234&", "1235&"), wrong()),
            ("one field more", query, &[form, good], &format!("{fields}&Body=x"), wrong()),
            ("another query", "?foo=1&bar=3", &[form, good], fields, wrong()),
            ("query in another order", "?bar=2&foo=1", &[form, good], fields, wrong()),
            ("another path", "/x?foo=1&bar=2", &[form, good], fields, wrong()),
            ("another JSON", query, &[json_type, json], "{}", uncovered()),
            ("another JSON beside its digest", json_query, &[json_type, json], "{}", wrong()),
            ("a digest that is none", "?bodySHA256=x", &[json_type, json], json_body, wrong()),
            ("JSON under a signature of the address", query, &[json_type, url_alone], json_body, uncovered()),
            ("a form that calls itself something else", query, &[json_type, good], fields, uncovered()),
            ("more fields than a form has", query, &[form, good], &endless, uncovered()),
            ("cut", query, &[form, (name, "RSOYDt4T1cUTdK1P")], fields, wrong()),
            ("none", query, &[form], fields, Err(Refusal::Header(name))),
        ],
    );
}

#[test]
fn a_form_is_believed_by_its_one_secret_field() {
    check(
        Scheme::FormSecret,
        &[
            ("right", "", &[], "checkin=%7B%7D&secret=new-secret", Ok(None)),
            ("the secret before", "", &[], "secret=old-secret&checkin=%7B%7D", Ok(None)),
            ("with signs", "", &[], "secret=It%27s+a+Secret%20to+Everybody", Ok(None)),
            ("name written with signs", "", &[], "%73ecret=new%2Dsecret", Ok(None)),
            ("another", "", &[], "checkin=%7B%7D&secret=gone-secret", Err(Refusal::Signature)),
            ("cut", "", &[], "secret=new-secre", Err(Refusal::Signature)),
            ("empty", "", &[], "secret=", Err(Refusal::Signature)),
            ("without a value", "", &[], "secret", Err(Refusal::Signature)),
            ("twice", "", &[], "secret=new-secret&secret=x", Err(Refusal::Field)),
            ("twice in two dresses", "", &[], "secret=new-secret&%73ecret=new-secret", Err(Refusal::Field)),
            ("in the address", "?secret=new-secret", &[], "checkin=%7B%7D", Err(Refusal::Field)),
            ("another field", "", &[], "Secret=new-secret&mysecret=new-secret", Err(Refusal::Field)),
            ("in JSON", "", &[], r#"{"secret":"new-secret"}"#, Err(Refusal::Field)),
            ("none", "", &[], "", Err(Refusal::Field)),
        ],
    );
    check(Scheme::None, &[("whatever", "", &[], "", Ok(None))]);
}

#[test]
fn a_secret_field_is_masked_wherever_it_stands() {
    let verifier = Verifier::new(setup(Scheme::FormSecret));
    let body = "checkin=%7B%7D&%73ecret=new%2Dsecret&mysecret=a&secret=";
    let mut request = incoming("/a?secret=new-secret&b=1", &[], body);
    verifier.mask(&mut request);
    let masked = String::from_utf8(request.body).unwrap();
    assert_eq!(masked, "checkin=%7B%7D&%73ecret=************&mysecret=a&secret=");
    assert_eq!((masked.len(), request.path_with_query.as_str()), (body.len(), "/a?secret=**********&b=1"));

    let mut foreign = incoming("", &[], "secret=mine");
    Verifier::new(setup(Scheme::Twilio)).mask(&mut foreign);
    assert_eq!(foreign.body, b"secret=mine", "what is no secret stays");
}

#[test]
fn challenges_are_answered_as_each_network_wants_them() {
    use Challenge::*;
    let long = "7".repeat(1025);
    let topic = "https%3A%2F%2Fblog.example%2Ffeed%3Fa%3D1%26b%3D2";
    let x = |token: &str| Some(Json(format!(r#"{{"response_token":"sha256={token}"}}"#)));
    let cases: [(Scheme, String, Option<Challenge>); 28] = [
        (Scheme::X, "crc_token=9b4507b3-9040-4669-9ca3-6b94edb50553".into(), x("AZ9+knUfEJw3UnaJh4hsMXf4+LjtS9c866akgqBUY60=")),
        (Scheme::X, "a=1&crc_token=token12&nonce=x".into(), x("26wZX2WQbwj3NHbsQArce/Rq8POBu47bYuE8UvdPZK0=")),
        (Scheme::X, "crc_token=".into(), Some(Malformed)),
        (Scheme::X, format!("crc_token={long}"), Some(Malformed)),
        (Scheme::X, "crc_token=%7B%22id%22%3A1%7D".into(), Some(Malformed)),
        (Scheme::X, "crc=1".into(), None),
        (Scheme::X, String::new(), None),
        (
            Scheme::LinkedIn,
            "challengeCode=9b4507b3-9040-4669-9ca3-6b94edb50553&applicationId=7".into(),
            Some(Json(
                r#"{"challengeCode":"9b4507b3-9040-4669-9ca3-6b94edb50553","challengeResponse":"019f7e92751f109c3752768987886c3177f8f8b8ed4bd73ceba6a482a05463ad"}"#
                    .into(),
            )),
        ),
        (Scheme::LinkedIn, "challengeCode=hmacsha256%3D%7B%7D".into(), Some(Malformed)),
        (Scheme::Meta, "hub.mode=subscribe&hub.verify_token=vt-new&hub.challenge=1158201444".into(), Some(Text("1158201444".into()))),
        (Scheme::Meta, "hub.challenge=1&hub.verify_token=vt-old&hub.mode=subscribe".into(), Some(Text("1".into()))),
        (Scheme::Meta, "hub.mode=subscribe&hub.verify_token=vt&hub.challenge=1".into(), Some(Forbidden)),
        (Scheme::Meta, "hub.mode=subscribe&hub.challenge=1".into(), Some(Forbidden)),
        (Scheme::Meta, "hub.mode=subscribe&hub.verify_token=new-secret&hub.challenge=1".into(), Some(Forbidden)),
        (Scheme::Meta, "hub.mode=unsubscribe&hub.verify_token=vt-new&hub.challenge=1".into(), Some(Forbidden)),
        (Scheme::Meta, "hub.mode=subscribe&hub.verify_token=vt-new".into(), Some(Malformed)),
        (Scheme::Meta, format!("hub.mode=subscribe&hub.verify_token=vt-new&hub.challenge={long}"), Some(Malformed)),
        (Scheme::Meta, "x=1".into(), None),
        (Scheme::WebSub, format!("hub.mode=subscribe&hub.topic={topic}&hub.challenge=a%20b&hub.lease_seconds=864000"), Some(Text("a b".into()))),
        (Scheme::WebSub, "hub.mode=subscribe&hub.topic=https%3A%2F%2Fblog.example%2F&hub.challenge=a".into(), Some(UnknownTopic)),
        (Scheme::WebSub, "hub.mode=subscribe&hub.challenge=a".into(), Some(UnknownTopic)),
        (Scheme::WebSub, format!("hub.mode=unsubscribe&hub.topic={topic}&hub.challenge=a"), Some(UnknownTopic)),
        (Scheme::WebSub, "hub.mode=unsubscribe&hub.topic=https%3A%2F%2Fold.example%2F&hub.challenge=a".into(), Some(Text("a".into()))),
        (Scheme::WebSub, format!("hub.mode=denied&hub.topic={topic}&hub.reason=no"), Some(Heard)),
        (Scheme::WebSub, format!("hub.mode=publish&hub.topic={topic}&hub.challenge=a"), Some(UnknownTopic)),
        (Scheme::WebSub, format!("hub.mode=subscribe&hub.topic={topic}"), Some(Malformed)),
        (Scheme::Discourse, "hub.mode=subscribe&crc_token=1&challengeCode=1".into(), None),
        (Scheme::StandardWebhooks, "crc_token=1".into(), None),
    ];
    for (scheme, query, expected) in cases {
        assert_eq!(Verifier::new(setup(scheme)).challenge(&query), expected, "{scheme}: {query}");
    }
    assert_eq!(Verifier::new(Setup { secrets: Vec::new(), ..setup(Scheme::X) }).challenge("crc_token=a"), Some(Malformed), "nothing to sign with");
    let without = Setup { verify_tokens: Vec::new(), ..setup(Scheme::Meta) };
    assert_eq!(Verifier::new(without).challenge("hub.mode=subscribe&hub.verify_token=&hub.challenge=1"), Some(Forbidden), "nobody knows no token");
}
