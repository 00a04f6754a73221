//! A pretend server on loopback for the tests: it answers line by line by a function and remembers what it was told.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a line is answered with.
pub(crate) enum Say {
    Bytes(Vec<u8>),
    /// The last bytes before the connection ends.
    Last(Vec<u8>),
    /// The connection ends here.
    HangUp,
}

/// What a pretend server was told, line by line, over all connections.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// How many lines contain these words.
    pub(crate) fn count(&self, words: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(words)).count()
    }
}

/// Text as an answer.
pub(crate) fn say(text: impl Into<String>) -> Say {
    Say::Bytes(text.into().into_bytes())
}

/// Serves one connection after the other until the test ends; answers the address.
pub(crate) fn serve(greeting: &'static str, mut answer: impl FnMut(&str) -> Say + Send + 'static) -> (String, Told) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let told = Told::default();
    let heard = told.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            converse(&stream, greeting, &mut answer, &heard);
        }
    });
    (address, told)
}

fn converse(mut stream: &TcpStream, greeting: &str, answer: &mut impl FnMut(&str) -> Say, heard: &Told) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    if stream.write_all(greeting.as_bytes()).is_err() {
        return;
    }
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        heard.0.lock().unwrap().push(line.clone());
        match answer(&line) {
            Say::Bytes(bytes) if stream.write_all(&bytes).is_ok() => {}
            Say::Last(bytes) => return drop(stream.write_all(&bytes)),
            _ => return,
        }
    }
}
