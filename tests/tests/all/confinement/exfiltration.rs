//! Ways out of the sandbox, all of them tried from inside it: `http`, `net`, a stream that the host opens for the guest, and WASI's own
//! sockets. Every address leads to servers of the test (see `apart`), so that a connection outside the grant would be seen.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::apart::{HIDDEN, LINES, TOKEN, WEB, apart, dresses};

const NOT_PUBLIC: &str = "which is not public";
const NOT_GRANTED: &str = "not granted: ";

/// Places beside those that are granted, as URLs.
const BESIDE: [&str; 33] = [
    // One address in every dress; a granted name is none of them.
    "http://127.0.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://0x7f.1/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.64.0.1/",
    "http://[fe80::1]/",
    "http://localhost/",
    "http://93.184.216.34/",
    // The granted name is not where one goes.
    "http://granted.example@other.example/",
    "http://granted.example:80@127.0.0.1/",
    "http://other.example#granted.example",
    "http://other.example/granted.example",
    "http://other.example\\@granted.example/",
    "http://evil-granted.example/",
    "http://sub.granted.example/",
    "http://granted.example.evil.example/",
    "http://granted.example./",
    "http://gr\u{0430}nted.example/",
    "http://xn--grnted-5nf.example/",
    // The granted name, and somebody at it, another port, another protocol.
    "http://user:password@granted.example/",
    "http://granted.example:8080/",
    "http://granted.example:443/",
    "https://granted.example/",
    "ftp://granted.example:80/",
];

/// Likewise as host and port.
const BESIDE_LINES: [(&str, &str); 19] = [
    ("127.0.0.1", "143"),
    ("2130706433", "143"),
    ("0x7f000001", "143"),
    ("0177.0.0.1", "143"),
    ("127.1", "143"),
    ("::1", "143"),
    ("[::1]", "143"),
    ("::ffff:127.0.0.1", "143"),
    ("169.254.169.254", "143"),
    ("localhost", "143"),
    ("93.184.216.36", "143"),
    ("mail.example", "80"),
    ("mail.example.", "143"),
    ("evil-mail.example", "143"),
    ("mail.example.evil.example", "143"),
    ("user@mail.example", "143"),
    ("mail.example:143", "80"),
    ("m\u{0430}il.example", "143"),
    ("mail.example\r\n127.0.0.1", "143"),
];

/// Other ways to write a URL that is granted.
const GRANTED: [&str; 7] = [
    "http://granted.example/",
    "HTTP://GRANTED.Example:80/",
    "http://gr%61nted.example/",
    "http://\u{ff47}ranted.example/",
    "http://granted\u{3002}example/",
    "http://granted.example\\@other.example/",
    "http://gran\tted.exam\nple/",
];

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

#[test]
fn no_form_of_an_address_and_no_way_out_reaches_what_is_not_granted() {
    apart("no_form_of_an_address_and_no_way_out_reaches_what_is_not_granted", async |world| {
        for (name, _) in HIDDEN {
            let (url, ws) = (format!("http://{name}/"), format!("ws://{name}/"));
            let lines = world.go(&["net", name, "143", ""]).await;
            for came in [world.get(&url).await, lines, world.open("sse", &url, "", &[]).await, world.open("websocket", &ws, "", &[]).await] {
                assert!(came.contains(NOT_PUBLIC), "{name}: {came}");
            }
        }
        for url in BESIDE {
            let ws = url.replacen("http", "ws", 1);
            for came in [world.get(url).await, world.open("ndjson", url, "", &[]).await, world.open("websocket", &ws, "", &[]).await] {
                assert!(came.starts_with(NOT_GRANTED), "{url}: {came}");
            }
        }
        for (host, port) in BESIDE_LINES {
            let came = world.go(&["net", host, port, ""]).await;
            assert!(came.starts_with(NOT_GRANTED), "{host}:{port}: {came}");
        }
        // What is granted is granted through the door alone.
        for place in ["127.0.0.1:80", "93.184.216.34:80", "[::1]:80", "granted.example:80"] {
            for way in ["tcp", "udp"] {
                let came = world.go(&[way, place]).await;
                assert!(came != "connected" && came != "sent", "{way} {place}: {came}");
            }
        }
        assert_eq!(world.dialled().await, []);
        let hidden: BTreeSet<String> = HIDDEN.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(world.asked(), hidden, "to look a name up is to tell it");

        for url in GRANTED {
            let came = world.get(url).await;
            assert!(came.starts_with("200\n"), "{url:?}: {came}");
        }
        assert_eq!(world.go(&["net", "MAIL.Example", "143", ""]).await, "said hello\r\n");
        let dialled: BTreeSet<SocketAddr> = world.dialled().await.into_iter().collect();
        assert_eq!(dialled, BTreeSet::from([at("93.184.216.34", WEB), at("93.184.216.36", LINES)]));
    });
}

#[test]
fn whatever_a_guest_writes_into_a_request_it_is_one_request_to_the_granted_host() {
    apart("whatever_a_guest_writes_into_a_request_it_is_one_request_to_the_granted_host", async |world| {
        const URL: &str = "http://granted.example/";
        let smuggled = "GET /smuggled HTTP/1.1\r\nhost: other.example\r\n\r\n";
        let taken: [&[&str]; 9] = [
            &["GET", URL, "", "", "Host", "other.example"],
            &["GET", URL, "", "", "hOST", "other.example", "host", "other.example"],
            &["GET", URL, "", "", "Connection", "host", "Upgrade", "h2c", "TE", "trailers"],
            &["GET", URL, "", "", "Proxy-Authorization", "x", "Proxy-Connection", "keep-alive"],
            &["POST", URL, "", smuggled, "Content-Length", "0"],
            &["POST", URL, "", smuggled, "Transfer-Encoding", "chunked"],
            &["POST", URL, "", smuggled, "Content-Length", "0", "Transfer-Encoding", "chunked", "Expect", "100-continue"],
            &["GET", "http://granted.example/a HTTP/1.1\r\nhost: other.example\r\n\r\n", "", ""],
            &["GET", "http://granted.example//other.example/%0d%0ahost:%20other.example?a\r\nb", "", ""],
        ];
        for fields in taken {
            let came = world.go(&[&["http"], fields].concat()).await;
            assert!(came.starts_with("200\n"), "{fields:?}: {came}");
        }
        let refused: [&[&str]; 13] = [
            &["GET", URL, "", "", ":authority", "other.example"],
            &["GET", URL, "", "", ":path", "/other"],
            &["GET", URL, "", "", "Host ", "other.example"],
            &["GET", URL, "", "", " Host", "other.example"],
            &["GET", URL, "", "", "x\r\nhost", "other.example"],
            &["GET", URL, "", "", "x: y\r\nhost", "other.example"],
            &["GET", URL, "", "", "", "other.example"],
            &["GET", URL, "", "", "x", "y\r\nhost: other.example"],
            &["GET", URL, "", "", "x", "y\nhost: other.example"],
            &["GET", URL, "", "", "x", "y\rhost: other.example"],
            &["GET", URL, "", "", "x", "y\0"],
            &["GET / HTTP/1.1\r\nhost: other.example\r\n\r\nGET", URL, "", ""],
            &["GET http://other.example/", URL, "", ""],
        ];
        for fields in refused {
            let came = world.go(&[&["http"], fields].concat()).await;
            assert!(came.starts_with("http: "), "{fields:?}: {came}");
        }
        for method in ["CONNECT", "connect", "TRACE", "Trace"] {
            let came = world.go(&["http", method, URL, "", ""]).await;
            assert!(came.starts_with(NOT_GRANTED), "{method}: {came}");
        }
        for headers in [["x", "y\r\nhost: other.example"], ["x\r\nhost", "other.example"], [":authority", "other.example"]] {
            for (protocol, url) in [("sse", URL), ("ndjson", URL), ("websocket", "ws://granted.example/")] {
                let came = world.open(protocol, url, "", &headers).await;
                assert!(came.starts_with("http: "), "{protocol} {headers:?}: {came}");
            }
        }

        let requests = world.requests();
        assert_eq!(requests.len(), taken.len(), "{requests:?}");
        for request in &requests {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let named: Vec<&str> = head.lines().filter(|line| line.to_ascii_lowercase().starts_with("host")).collect();
            assert_eq!(named, ["host: granted.example"], "{request}");
            assert!(body.is_empty() || body == smuggled, "{request}");
            let is_own = |name: &str| ["host", "user-agent", "content-length"].contains(&name);
            assert!(head.lines().skip(1).all(|line| is_own(line.split(':').next().unwrap_or_default())), "{request}");
        }
        assert!(world.dialled().await.iter().all(|address| *address == at("93.184.216.34", WEB)));
    });
}

#[test]
fn a_redirect_is_an_answer_and_a_name_that_moves_is_judged_each_time() {
    apart("a_redirect_is_an_answer_and_a_name_that_moves_is_judged_each_time", async |world| {
        for status in ["301", "302", "303", "307", "308"] {
            for (method, auth) in [("GET", ""), ("POST", "token")] {
                let url = format!("http://granted.example/moved/{status}");
                let came = world.go(&["http", method, &url, auth, "x"]).await;
                assert!(came.starts_with(status) && came.contains("location: http://other.example/"), "{status}: {came}");
            }
            let came = world.open("sse", &format!("http://granted.example/moved/{status}"), "token", &[]).await;
            assert_eq!(came, format!("the network answers {status}"));
        }
        let http = "http://rebinds-http.example/close";
        let first = [world.get(http).await, world.go(&["net", "rebinds-net.example", "143", ""]).await];
        let stream = world.open("sse", "http://rebinds-stream.example/events", "", &[]).await;
        assert!(first[0].starts_with("200") && first[1].starts_with("said") && stream.starts_with("Ok("), "{first:?} {stream}");
        let again = [
            world.get(http).await,
            world.go(&["net", "rebinds-net.example", "143", ""]).await,
            world.open("sse", "http://rebinds-stream.example/events", "", &[]).await,
        ];
        assert!(again.iter().all(|came| came.contains(NOT_PUBLIC)), "{again:?}");

        let dialled: BTreeSet<SocketAddr> = world.dialled().await.into_iter().collect();
        let expected = [at("93.184.216.34", WEB), at("93.184.216.37", WEB), at("93.184.216.37", LINES)];
        assert_eq!(dialled, BTreeSet::from(expected));
        assert!(!world.asked().contains("other.example"));
    });
}

#[test]
fn a_credential_goes_where_it_belongs_and_never_comes_back() {
    apart("a_credential_goes_where_it_belongs_and_never_comes_back", async |world| {
        let elsewhere = [
            world.go(&["http", "GET", "http://second.example/echo", "token", ""]).await,
            world.go(&["http", "GET", "http://granted.example/echo", "password", ""]).await,
            world.go(&["http", "GET", "http://granted.example/echo", "nobody-s", ""]).await,
            world.open("sse", "http://second.example/events", "token", &[]).await,
            world.open("websocket", "ws://second.example/", "token", &[]).await,
        ];
        assert!(elsewhere.iter().all(|came| came.starts_with("not granted: credential")), "{elsewhere:?}");
        assert_eq!(world.dialled().await, []);
        // The connection stands; the word is not written.
        for (host, credential) in [("second.example", "password"), ("mail.example", "token")] {
            let came = world.go(&["net", host, "143", credential]).await;
            assert!(came.starts_with("not granted: credential"), "{host}: {came}");
        }

        let stars = "*".repeat(TOKEN.len());
        for path in ["echo", "chunks"] {
            let came = world.go(&["http", "GET", &format!("http://granted.example/{path}"), "token", ""]).await;
            assert!(came.ends_with(&format!("\n\nyou are {stars}, are you not")), "{came}");
            assert!(path == "chunks" || came.contains(&format!("x-echo: a {stars} b\n")), "{came}");
        }
        let came = world.get("http://granted.example/dresses").await;
        assert!(came.ends_with(&dresses().map(|dress| "*".repeat(dress.len())).join(" and ")), "{came}");
        let came = world.open("sse", "http://granted.example/events", "token", &[]).await;
        assert!(came.starts_with("Ok(Whole("), "{came}");
        assert!(came.contains(&format!("{:?}", format!("you are {stars}").as_bytes()).trim_matches(['[', ']']).to_owned()), "{came}");
        assert_eq!(world.go(&["net", "mail.example", "143", "password"]).await, format!("said a LOGIN mallory {stars}\r\n"));
        let sent = world.requests();
        assert!(sent.iter().any(|request| request.contains(&format!("authorization: Bearer {TOKEN}"))), "it did go out: {sent:?}");
    });
}
