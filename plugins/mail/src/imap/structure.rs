//! The files of a mail, read from its BODYSTRUCTURE. It only lists; what it cannot follow it leaves out.
//! Source: RFC 3501 §7.4.2 (BODYSTRUCTURE), RFC 2231 and RFC 2047 (names).

use mail_parser::{MessageParser, MimeHeaders};

use super::response::Token;
use crate::truncated::File;

const DEPTH_MAX: usize = 32;
const FILES_MAX: usize = 64;
/// Units: bytes. More of a parameter is somebody's joke.
const WORD_BYTES_MAX: usize = 1000;

enum Node {
    Atom(String),
    Text(String),
    List(Vec<Node>),
}

/// In the order of the mail. Shape: names as written by the sender, at most 64 files.
pub(super) fn files(tokens: &[Token]) -> Vec<File> {
    let at = tokens.iter().position(|token| matches!(token, Token::Atom(word) if word.eq_ignore_ascii_case("BODYSTRUCTURE")));
    let mut files = Vec::new();
    if let Some(Node::List(root)) = at.and_then(|at| tree(tokens.get(at + 1..)?)) {
        walk(&root, &mut files);
    }
    files
}

/// The first list of these tokens. None where it never ends, or lies too deep.
fn tree(tokens: &[Token]) -> Option<Node> {
    let mut open: Vec<Vec<Node>> = Vec::new();
    for token in tokens {
        let node = match token {
            Token::Open => {
                open.push(Vec::new());
                if open.len() > DEPTH_MAX {
                    return None;
                }
                continue;
            }
            Token::Close => Node::List(open.pop()?),
            Token::Atom(word) => Node::Atom(word.clone()),
            Token::Text(bytes) => Node::Text(String::from_utf8_lossy(bytes.get(..WORD_BYTES_MAX).unwrap_or(bytes)).into_owned()),
        };
        match open.last_mut() {
            Some(list) => list.push(node),
            None => return Some(node),
        }
    }
    None
}

fn walk(part: &[Node], files: &mut Vec<File>) {
    if matches!(part.first(), Some(Node::List(_))) {
        for child in part.iter().map_while(|node| if let Node::List(child) = node { Some(child) } else { None }) {
            walk(child, files);
        }
        return;
    }
    let (Some(Node::Text(main)), Some(Node::Text(sub))) = (part.first(), part.get(1)) else { return };
    let media_type = format!("{main}/{sub}").to_lowercase();
    let params = part.get(2).map(pairs).unwrap_or_default();
    let (is_attached, place) = disposition(part);
    let name = name(&place, &params);
    if files.len() >= FILES_MAX || !(is_attached || name.is_some() || !media_type.starts_with("text/")) {
        return;
    }
    let is_base64 = matches!(part.get(5), Some(Node::Text(encoding)) if encoding.eq_ignore_ascii_case("base64"));
    let sent = part.get(6).and_then(|node| if let Node::Atom(digits) = node { digits.parse::<u64>().ok() } else { None });
    // Four characters, and a line end every 76, stand for three bytes.
    let bytes = sent.map(|sent| if is_base64 { sent.saturating_mul(57) / 78 } else { sent });
    files.push(File { name, media_type, bytes });
}

/// Behind the fields that every part has stands `("attachment" ("filename" "x"))`.
fn disposition(part: &[Node]) -> (bool, Vec<(String, String)>) {
    let lists = part.iter().skip(7).filter_map(|node| if let Node::List(list) = node { Some(list) } else { None });
    for list in lists {
        if let [Node::Text(kind), rest, ..] = list.as_slice()
            && (kind.eq_ignore_ascii_case("attachment") || kind.eq_ignore_ascii_case("inline"))
        {
            return (kind.eq_ignore_ascii_case("attachment"), pairs(rest));
        }
    }
    (false, Vec::new())
}

fn pairs(node: &Node) -> Vec<(String, String)> {
    let Node::List(list) = node else { return Vec::new() };
    let pair = |two: &[Node]| match two {
        [Node::Text(key), Node::Text(value)] => Some((key.to_lowercase(), value.clone())),
        _ => None,
    };
    list.chunks(2).filter_map(pair).collect()
}

/// The parser of mails knows how names are encoded: it is given the parameters as headers.
fn name(place: &[(String, String)], params: &[(String, String)]) -> Option<String> {
    let line = |pairs: &[(String, String)]| {
        let clean = |text: &str| text.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect::<String>();
        let words = pairs.iter().map(|(key, value)| match key.ends_with('*') {
            true => format!("; {}={}", clean(key), clean(value).replace([' ', ';'], "_")),
            false => format!("; {}=\"{}\"", clean(key), clean(value)),
        });
        words.collect::<String>()
    };
    let header = format!("Content-Disposition: attachment{}\r\nContent-Type: application/octet-stream{}\r\n\r\n", line(place), line(params));
    let parsed = MessageParser::default().parse(header.as_bytes())?;
    let name = parsed.parts.first()?.attachment_name()?.trim().to_owned();
    (!name.is_empty()).then_some(name)
}
