//! What the provider keeps: the company's mailboxes with their UIDs, and what everybody else received.

use std::collections::BTreeMap;
use std::fmt;

use super::{Mail, Mishap};
use crate::dice::Dice;

/// Of a hundred steps that could go wrong, so many do.
const TROUBLE_SHARE: u64 = 20;

/// A mail as somebody writes it.
#[derive(Debug, Clone, Default)]
pub struct Letter {
    /// `Marco Rossi <marco@customers.example>`.
    pub from: String,
    /// As shown.
    pub subject: String,
    /// Its Message-ID, without brackets.
    pub id: String,
    /// Message-IDs without brackets, from the oldest to the one that is answered.
    pub answers: Vec<String>,
    /// Further header lines, without line ends.
    pub headers: Vec<String>,
    /// The text.
    pub text: String,
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "From: {}\r\nTo: Acme <{}>\r\nSubject: {}\r\nMessage-ID: <{}>\r\n", self.from, Mail::ADDRESS, self.subject, self.id)?;
        if let Some(parent) = self.answers.last() {
            let all: Vec<String> = self.answers.iter().map(|id| format!("<{id}>")).collect();
            write!(f, "In-Reply-To: <{parent}>\r\nReferences: {}\r\n", all.join("\r\n "))?;
        }
        for header in &self.headers {
            write!(f, "{header}\r\n")?;
        }
        let text = self.text.replace("\r\n", "\n").replace('\n', "\r\n");
        write!(f, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n")
    }
}

/// One mail in one mailbox.
#[derive(Debug, Clone)]
pub(super) struct Filed {
    pub(super) uid: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) at: jiff::Timestamp,
}

/// One mailbox of the company.
#[derive(Debug, Clone)]
pub(super) struct Mailbox {
    pub(super) uid_validity: u32,
    pub(super) uid_next: u32,
    pub(super) mod_seq: u64,
    /// UIDs ascending.
    pub(super) mails: Vec<Filed>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Office {
    pub(super) password: String,
    pub(super) boxes: BTreeMap<String, Mailbox>,
    others: Vec<(String, String)>,
    pub(super) mishaps: Vec<Mishap>,
    /// By dice, until it is calm again; whether a wait of minutes may come of it.
    pub(super) trouble: Option<(Dice, bool)>,
    pub(super) lines: Vec<String>,
    pub(super) n_filed: u64,
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

impl Office {
    pub(super) fn new(password: &str) -> Self {
        let empty = Mailbox { uid_validity: 3_857_529, uid_next: 1, mod_seq: 1, mails: Vec::new() };
        let boxes = ["INBOX", "Sent"].map(|name| (name.to_owned(), empty.clone()));
        Self {
            password: password.to_owned(),
            boxes: boxes.into(),
            others: Vec::new(),
            mishaps: Vec::new(),
            trouble: None,
            lines: Vec::new(),
            n_filed: 0,
        }
    }

    /// Puts a mail into a mailbox of the company; gives its UID, 0 where there is no such mailbox.
    pub(super) fn file(&mut self, mailbox: &str, bytes: Vec<u8>) -> u32 {
        self.n_filed += 1;
        let Some(mailbox) = self.boxes.get_mut(mailbox) else { return 0 };
        let uid = mailbox.uid_next;
        mailbox.uid_next += 1;
        mailbox.mod_seq += 1;
        mailbox.mails.push(Filed { uid, bytes, at: now() });
        uid
    }

    pub(super) fn expunge(&mut self, mailbox: &str, uid: u32) {
        if let Some(mailbox) = self.boxes.get_mut(mailbox) {
            mailbox.mod_seq += 1;
            mailbox.mails.retain(|mail| mail.uid != uid);
        }
    }

    pub(super) fn bump(&mut self, mailbox: &str) {
        if let Some(mailbox) = self.boxes.get_mut(mailbox) {
            mailbox.uid_validity += 1;
            mailbox.uid_next = 1;
            for mail in &mut mailbox.mails {
                mail.uid = mailbox.uid_next;
                mailbox.uid_next += 1;
            }
        }
    }

    /// What was submitted: filed, and in the mailbox of each recipient.
    pub(super) fn send(&mut self, recipients: &[String], mail: &[u8]) {
        self.file("Sent", mail.to_vec());
        for to in recipients {
            if to.eq_ignore_ascii_case(Mail::ADDRESS) {
                self.file("INBOX", mail.to_vec());
            } else {
                self.others.push((to.to_ascii_lowercase(), String::from_utf8_lossy(mail).into_owned()));
            }
        }
    }

    pub(super) fn received(&self, address: &str) -> Vec<String> {
        let address = address.to_ascii_lowercase();
        self.others.iter().filter(|(to, _)| *to == address).map(|(_, mail)| mail.clone()).collect()
    }

    /// The first mishap that this step is about.
    pub(super) fn mishap<T>(&mut self, fits: impl Fn(Mishap) -> Option<T>) -> Option<T> {
        let Some((at, found)) = self.mishaps.iter().enumerate().find_map(|(at, mishap)| fits(*mishap).map(|found| (at, found))) else {
            return self.trouble_with(fits);
        };
        self.mishaps.remove(at);
        Some(found)
    }

    fn trouble_with<T>(&mut self, fits: impl Fn(Mishap) -> Option<T>) -> Option<T> {
        let (dice, has_long_waits) = self.trouble.as_mut()?;
        let cut = Mishap::CutLiteral(usize::try_from(dice.below(200)).unwrap_or(0));
        let later = has_long_waits.then_some(Mishap::RefuseRecipient(451));
        let found = [cut, Mishap::Bye, Mishap::LoseAnswer].into_iter().chain(later).find_map(fits)?;
        (dice.below(100) < TROUBLE_SHARE).then_some(found)
    }
}
