//! Builds that an admin put in force on a running host, in the place of those that the configuration names.
//!
//! One folder: a build's file under its digest, one record per name with the way back and the history, and what a connector had
//! when its build was replaced. A record is replaced whole and is durable when the call returns: it alone says what is in force,
//! so that a crash leaves either the old build or the new one.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::failpoint;
use crate::model::{Digest, Timestamp};

/// Ways back that are kept for one name; older ones are forgotten.
const STEPS_MAX: usize = 8;
/// Lines of history kept for one name; older ones are forgotten.
const HISTORY_MAX: usize = 200;
/// A build that was in force for so long is on trial no more after a restart or a reload.
const TRIAL_MAX: Duration = Duration::from_secs(24 * 3600);
/// In the folder of the store.
const FOLDER: &str = "builds";

/// The folder of builds.
#[derive(Debug)]
pub struct Builds {
    dir: PathBuf,
    /// Held from reading a record to its end: what no record names is removed.
    turn: Mutex<()>,
}

/// What was put in force in one name's place, and how it came to it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Record {
    /// What the configuration named when the first step was taken. Once it names something else, the steps are over.
    configured: Option<Configured>,
    /// Oldest first; the last is in force.
    steps: Vec<Step>,
    /// Steps before these were forgotten.
    #[serde(default)]
    is_cut: bool,
    /// Oldest first.
    pub history: Vec<Act>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Configured {
    plugin: String,
    digest: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Step {
    digest: String,
    /// The file that holds what the connector had before, if it is one.
    aside: Option<String>,
    /// It is not on trial.
    #[serde(default)]
    stays: bool,
}

/// One line of the history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// `swap`, `rollback`, `configured` (the configuration names another build by now).
    pub act: String,
    /// Who ordered it; [`ITSELF`] where nobody did.
    pub by: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// The build that was in force. Shape: hex.
    pub from: String,
    /// The build that was to be in force. Shape: hex.
    pub to: String,
    /// `in force`, or why not.
    pub outcome: String,
    /// It was to stay whatever it does: not on trial.
    #[serde(default)]
    pub stays: bool,
    /// For so long the plugin took no calls; known once the change is durable, and so not kept. Units: microseconds.
    #[serde(skip)]
    pub pause_us: Option<u64>,
}

/// What a connector had when its build was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// Its cursor.
    pub cursor: Option<String>,
    /// How far its raw items were understood.
    pub raw: u64,
    /// Its state.
    pub state: Vec<(String, Vec<u8>)>,
}

/// Where a way back leads.
pub struct Back {
    /// The build; `None`: the one that the configuration names.
    pub bytes: Option<Arc<[u8]>>,
    /// Of it, as it was when it was replaced. Shape: hex.
    pub digest: String,
    /// What its connector had.
    pub aside: Option<Aside>,
}

impl Builds {
    /// Of the host whose store lies in this folder. Nothing is written yet.
    pub fn new(data: &Path) -> Self {
        Self { dir: data.join(FOLDER), turn: Mutex::default() }
    }

    /// What is known of this name. Errors: a record that cannot be read.
    pub fn record(&self, name: &str) -> io::Result<Record> {
        read(&self.record_path(name)).map(Option::unwrap_or_default)
    }

    /// The build in force in the place of what the configuration names; `None` where that one is. Errors: it cannot be read,
    /// or is not what was put in force.
    pub fn in_force(&self, name: &str, plugin: &str, configured: &[u8]) -> io::Result<Option<Arc<[u8]>>> {
        let record = self.record(name)?;
        match record.steps.last() {
            Some(step) if record.is_over(plugin, Digest::of(configured)) => self.build(&step.digest).map(Some),
            _ => Ok(None),
        }
    }

    /// Puts a build in force: from the return on it is, whatever happens. `aside`: what its connector has, if it is one.
    pub fn push(&self, name: &str, plugin: &str, configured: Digest, bytes: &[u8], aside: Option<&Aside>, act: Act) -> io::Result<()> {
        let _turn = self.turn();
        let mut record = self.record(name)?;
        if !record.is_over(plugin, configured) {
            (record.steps, record.is_cut) = (Vec::new(), false);
        }
        record.configured = Some(Configured { plugin: plugin.to_owned(), digest: configured.to_string() });
        let digest = self.lay(bytes)?;
        let aside = match aside {
            Some(aside) => {
                let file = format!("{name}-{}.aside", act.at.0);
                self.write(&file, &serde_json::to_vec(aside)?)?;
                Some(file)
            }
            None => None,
        };
        record.steps.push(Step { digest, aside, stays: act.stays });
        let n_over = record.steps.len().saturating_sub(STEPS_MAX);
        record.steps.drain(..n_over);
        record.is_cut |= n_over > 0;
        self.keep(name, record, act)
    }

    /// Where the way back leads; `None` where the configured build is in force.
    pub fn back(&self, name: &str) -> io::Result<Option<Back>> {
        let record = self.record(name)?;
        let Some(last) = record.steps.last() else { return Ok(None) };
        let before = record.steps.len().checked_sub(2).and_then(|n| record.steps.get(n));
        if before.is_none() && record.is_cut {
            return Err(io::Error::other(format!("the builds before the last {STEPS_MAX} are forgotten")));
        }
        let bytes = before.map(|step| self.build(&step.digest)).transpose()?;
        let configured = record.configured.as_ref().map(|configured| configured.digest.as_str()).unwrap_or_default();
        let digest = before.map_or(configured, |step| step.digest.as_str()).to_owned();
        let aside = match &last.aside {
            Some(file) => read(&self.dir.join(file))?,
            None => None,
        };
        Ok(Some(Back { bytes, digest, aside }))
    }

    /// Takes the last step back: from the return on the build before is in force.
    pub fn pop(&self, name: &str, act: Act) -> io::Result<()> {
        let _turn = self.turn();
        let mut record = self.record(name)?;
        record.steps.pop();
        self.keep(name, record, act)
    }

    /// The configuration names another build by now: it is in force, and there is no way back.
    pub fn end(&self, name: &str, plugin: &str, configured: Digest, at: Timestamp) -> io::Result<()> {
        let _turn = self.turn();
        let mut record = self.record(name)?;
        let Some(step) = record.steps.last().filter(|_| !record.is_over(plugin, configured)) else { return Ok(()) };
        let act = Act {
            at,
            act: "configured".to_owned(),
            by: ITSELF.to_owned(),
            reason: Some("the configuration names another build by now".to_owned()),
            from: step.digest.clone(),
            to: configured.to_string(),
            outcome: IN_FORCE.to_owned(),
            stays: false,
            pause_us: None,
        };
        (record.steps, record.is_cut) = (Vec::new(), false);
        self.keep(name, record, act)
    }

    /// Notes what was tried and not done.
    pub fn note(&self, name: &str, act: Act) -> io::Result<()> {
        let _turn = self.turn();
        let record = self.record(name)?;
        self.keep(name, record, act)
    }

    /// Copies all of it into another data folder, as it is between two orders; these wait for no copying. It blocks. Errors: also where that
    /// has builds already.
    pub fn copy(&self, data: &Path) -> io::Result<()> {
        let into = data.join(FOLDER);
        for (name, mut file) in self.files()? {
            fs::create_dir_all(&into)?;
            io::copy(&mut file, &mut File::create_new(into.join(name))?)?;
        }
        Ok(())
    }

    /// All files as they are now: what is written later has another file, and what is removed is still read.
    fn files(&self) -> io::Result<Vec<(OsString, File)>> {
        let _turn = self.turn();
        let Ok(files) = fs::read_dir(&self.dir) else { return Ok(Vec::new()) };
        files.map(|file| file.and_then(|file| Ok((file.file_name(), File::open(file.path())?)))).collect()
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives its digest.
    fn lay(&self, bytes: &[u8]) -> io::Result<String> {
        let digest = Digest::of(bytes).to_string();
        if self.build(&digest).is_err() {
            self.write(&format!("{digest}.wasm"), bytes)?;
        }
        Ok(digest)
    }

    fn keep(&self, name: &str, mut record: Record, act: Act) -> io::Result<()> {
        record.history.push(act);
        let n_over = record.history.len().saturating_sub(HISTORY_MAX);
        record.history.drain(..n_over);
        let json = serde_json::to_vec_pretty(&record)?;
        failpoint::across("file", "build", || self.write(&format!("{name}{RECORD}"), &json))?;
        self.tidy();
        Ok(())
    }

    /// Removes what no record names. What stays behind costs room and nothing else.
    fn tidy(&self) {
        let Ok(files) = fs::read_dir(&self.dir) else { return };
        let names: Vec<String> = files.flatten().map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        let mut wanted = HashSet::new();
        for name in names.iter().filter(|name| name.ends_with(RECORD)) {
            let Ok(Some(record)) = read::<Record>(&self.dir.join(name)) else { return };
            wanted.extend(record.steps.into_iter().flat_map(|step| [Some(format!("{}.wasm", step.digest)), step.aside]).flatten());
        }
        for name in names.iter().filter(|name| !name.ends_with(RECORD) && !wanted.contains(*name)) {
            drop(fs::remove_file(self.dir.join(name)));
        }
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}{RECORD}"))
    }

    fn build(&self, digest: &str) -> io::Result<Arc<[u8]>> {
        let path = self.dir.join(format!("{digest}.wasm"));
        let bytes: Arc<[u8]> = fs::read(&path)?.into();
        if Digest::of(&bytes).to_string() != digest {
            return Err(io::Error::other(format!("`{}` is not what was put in force", path.display())));
        }
        Ok(bytes)
    }

    /// Durable, or not there at all.
    fn write(&self, file: &str, bytes: &[u8]) -> io::Result<()> {
        if !self.dir.is_dir() {
            fs::create_dir_all(&self.dir)?;
            self.dir.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
        }
        let (path, temporary) = (self.dir.join(file), self.dir.join(format!("{file}.tmp")));
        let mut written = File::create(&temporary)?;
        written.write_all(bytes)?;
        written.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&self.dir)?.sync_all()
    }
}

/// Who is recorded where the host acts by itself.
pub const ITSELF: &str = "membrana";
/// The outcome of what was done.
pub const IN_FORCE: &str = "in force";
/// How records' names end.
const RECORD: &str = ".json";

impl Record {
    /// Over this build of the configuration, with `running` (hex) in force: a next step has a way back to what runs.
    pub fn leads_back_to(&self, plugin: &str, configured: Digest, running: &str) -> bool {
        match self.steps.last() {
            None => configured.to_string() == running,
            // One that could not be read at the start is not what runs.
            Some(step) => step.digest == running && self.is_over(plugin, configured),
        }
    }

    /// The build that was put in force last could not be read at the start: another one runs.
    pub fn is_unread(&self, plugin: &str, configured: Digest, running: &str) -> bool {
        self.steps.last().is_some_and(|step| step.digest != running) && self.is_over(plugin, configured)
    }

    /// Nothing was put in force in the configured build's place.
    pub fn is_as_configured(&self) -> bool {
        self.steps.is_empty()
    }

    /// This build was swapped in, and is not the one that the configuration names.
    pub fn is_swapped(&self, digest: Digest) -> bool {
        let digest = digest.to_string();
        self.steps.last().is_some_and(|step| step.digest == digest) && self.configured.as_ref().is_none_or(|before| before.digest != digest)
    }

    /// This build was swapped in not long ago, and was not to stay whatever it does. What proved itself for a while is not taken back for
    /// a few faults, with all that its connector learned since; nor what a way back led to.
    pub fn is_on_trial(&self, digest: Digest, now: Timestamp) -> bool {
        self.trial_until(digest).is_some_and(|until| now < until)
    }

    /// When it will have proved itself; none where it is not to prove itself.
    pub fn trial_until(&self, digest: Digest) -> Option<Timestamp> {
        let digest = digest.to_string();
        let put = self.history.iter().rfind(|act| act.outcome == IN_FORCE && act.to == digest).filter(|act| act.act == "swap");
        put.filter(|_| self.steps.last().is_some_and(|step| !step.stays && step.digest == digest)).map(|act| act.at.plus(TRIAL_MAX))
    }

    /// The build that the host itself went back from last (hex), where nothing was put in force since.
    pub fn went_back_from(&self) -> Option<&str> {
        let last = self.history.iter().rfind(|act| act.outcome == IN_FORCE)?;
        (last.act == "rollback" && last.by == ITSELF).then_some(last.from.as_str())
    }

    /// The steps were taken over this very build of the configuration.
    fn is_over(&self, plugin: &str, digest: Digest) -> bool {
        self.configured.as_ref().is_some_and(|before| before.plugin == plugin && before.digest == digest.to_string())
    }
}

/// `None` where there is no such file.
fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| io::Error::other(format!("`{}`: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(at: u64) -> Act {
        let word = |word: &str| word.to_owned();
        Act {
            at: Timestamp(at),
            act: word("swap"),
            by: word("ada"),
            reason: None,
            from: word("a"),
            to: word("b"),
            outcome: word(IN_FORCE),
            stays: false,
            pause_us: None,
        }
    }

    fn files(builds: &Builds) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&builds.dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_put_in_force_stays_until_the_configuration_names_another_build() {
        let folder = tempfile::tempdir().unwrap();
        let (builds, configured) = (Builds::new(folder.path()), Digest::of(b"one"));
        assert!(builds.in_force("mood", "sentiment", b"one").unwrap().is_none());

        builds.push("mood", "sentiment", configured, b"two", None, act(1)).unwrap();
        assert_eq!(builds.in_force("mood", "sentiment", b"one").unwrap().as_deref(), Some(&b"two"[..]));
        assert!(builds.in_force("mood", "other", b"one").unwrap().is_none(), "another line");
        assert!(builds.in_force("mood", "sentiment", b"three").unwrap().is_none(), "another file at the same line");

        let record = builds.record("mood").unwrap();
        assert!(record.is_swapped(Digest::of(b"two")) && !record.is_swapped(configured));
        builds.end("mood", "sentiment", configured, Timestamp(2)).unwrap();
        assert!(builds.in_force("mood", "sentiment", b"one").unwrap().is_some(), "nothing changed: nothing ends");
        builds.end("mood", "other", configured, Timestamp(2)).unwrap();
        assert!(builds.in_force("mood", "sentiment", b"one").unwrap().is_none(), "what is over does not come back");
        assert_eq!(builds.record("mood").unwrap().history.iter().map(|act| act.act.as_str()).collect::<Vec<_>>(), ["swap", "configured"]);
        assert_eq!(files(&builds), ["mood.json"], "builds that nobody can go back to are removed");
    }

    #[test]
    fn each_step_back_leads_to_the_build_before_with_what_its_connector_had() {
        let folder = tempfile::tempdir().unwrap();
        let (builds, configured) = (Builds::new(folder.path()), Digest::of(b"one"));
        let had = |cursor: &str| Aside { cursor: Some(cursor.to_owned()), raw: 7, state: vec![("key".to_owned(), vec![0, 255])] };
        builds.push("blog", "feed", configured, b"two", Some(&had("c1")), act(1)).unwrap();
        builds.push("blog", "feed", configured, b"three", Some(&had("c2")), act(2)).unwrap();

        let back = builds.back("blog").unwrap().unwrap();
        assert_eq!((back.bytes.as_deref(), back.aside), (Some(&b"two"[..]), Some(had("c2"))));
        builds.pop("blog", act(3)).unwrap();
        assert_eq!(builds.in_force("blog", "feed", b"one").unwrap().as_deref(), Some(&b"two"[..]));
        let back = builds.back("blog").unwrap().unwrap();
        assert_eq!((back.bytes, back.aside), (None, Some(had("c1"))));
        builds.pop("blog", act(4)).unwrap();
        assert!(builds.back("blog").unwrap().is_none() && builds.in_force("blog", "feed", b"one").unwrap().is_none());
    }

    #[test]
    fn a_build_is_on_trial_for_a_day_and_a_step_leads_back_only_to_what_runs() {
        let folder = tempfile::tempdir().unwrap();
        let (builds, configured, two) = (Builds::new(folder.path()), Digest::of(b"one"), Digest::of(b"two"));
        builds.push("mood", "sentiment", configured, b"two", None, Act { to: two.to_string(), ..act(1) }).unwrap();

        let record = builds.record("mood").unwrap();
        assert!(record.is_on_trial(two, Timestamp(2)) && !record.is_on_trial(configured, Timestamp(2)));
        assert!(!record.is_on_trial(two, Timestamp(1).plus(TRIAL_MAX)), "it proved itself");
        assert_eq!((record.trial_until(two), record.trial_until(configured)), (Some(Timestamp(1).plus(TRIAL_MAX)), None));
        assert!(record.leads_back_to("sentiment", configured, &two.to_string()));
        assert!(!record.leads_back_to("sentiment", configured, &configured.to_string()), "the one swapped in could not be read, and does not run");
        assert!(record.is_unread("sentiment", configured, &configured.to_string()));
        assert!(!record.is_unread("sentiment", configured, &two.to_string()));

        let (three, late) = (Digest::of(b"three"), Timestamp(3));
        builds.push("mood", "sentiment", configured, b"three", None, Act { to: three.to_string(), at: late, ..act(2) }).unwrap();
        builds.pop("mood", Act { act: "rollback".to_owned(), to: two.to_string(), at: late, ..act(3) }).unwrap();
        assert!(!builds.record("mood").unwrap().is_on_trial(two, late), "a way back proves nothing against it");
    }

    #[test]
    fn a_damaged_build_is_told_and_never_run() {
        let folder = tempfile::tempdir().unwrap();
        let (builds, configured) = (Builds::new(folder.path()), Digest::of(b"one"));
        builds.push("mood", "sentiment", configured, b"two", None, act(1)).unwrap();
        fs::write(builds.dir.join(format!("{}.wasm", Digest::of(b"two"))), b"twO").unwrap();

        let told = builds.in_force("mood", "sentiment", b"one").unwrap_err().to_string();
        assert!(told.contains("is not what was put in force"), "{told}");
    }

    #[test]
    fn ways_back_and_history_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let (builds, configured) = (Builds::new(folder.path()), Digest::of(b"one"));
        for n in 0..HISTORY_MAX as u64 + 5 {
            builds.push("mood", "sentiment", configured, format!("build {}", n % 20).as_bytes(), None, act(n)).unwrap();
        }
        let record = builds.record("mood").unwrap();
        assert_eq!((record.steps.len(), record.history.len()), (STEPS_MAX, HISTORY_MAX));
        assert_eq!(record.history.last().unwrap().at, Timestamp(HISTORY_MAX as u64 + 4));
        assert_eq!(files(&builds).len(), STEPS_MAX + 1);
    }
}
