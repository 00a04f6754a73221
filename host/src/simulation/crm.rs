//! The company's CRM: takes events, refuses some, loses some of its answers, and remembers every one that came.

use std::sync::{Arc, Mutex};

use futures_util::future::FutureExt as _;

use super::world::{World, locked};
use crate::egress::{Door, DoorConfig, Egress, HttpError, HttpGrant, HttpRequest, HttpResponse, SystemResolver};
use crate::model::Timestamp;

pub(super) const URL: &str = "https://crm.example/hooks";

/// See the module.
pub(super) struct Crm {
    world: Arc<World>,
    egress: Arc<Egress>,
    heard: Mutex<Vec<Heard>>,
    down_until: Mutex<Timestamp>,
}

/// One event that came, whatever was answered.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) id: String,
    pub(super) channel: String,
    pub(super) seq: u64,
    pub(super) name: String,
    pub(super) subject: String,
    /// It answered that it has it.
    pub(super) is_taken: bool,
}

impl Crm {
    pub(super) fn new(world: &Arc<World>) -> Arc<Self> {
        let egress = Egress::new(&[], Arc::new(SystemResolver)).expect("no roots are added");
        Arc::new(Self { world: Arc::clone(world), egress, heard: Mutex::default(), down_until: Mutex::default() })
    }

    /// The way to it.
    pub(super) fn door(self: &Arc<Self>) -> Door {
        let crm = Arc::clone(self);
        let pretend: crate::egress::Pretend = Box::new(move |request| {
            let crm = Arc::clone(&crm);
            async move { crm.answer(&request).await }.boxed()
        });
        self.egress.door(DoorConfig { http: vec![HttpGrant::parse(URL).unwrap()], pretend: Some(pretend), ..DoorConfig::default() })
    }

    pub(super) fn fail(&self) {
        *locked(&self.down_until) = Timestamp(self.world.now().0 + self.world.below(3 * 3_600_000));
    }

    pub(super) fn mend(&self) {
        *locked(&self.down_until) = Timestamp::default();
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        locked(&self.heard).clone()
    }

    async fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
        self.world.lag().await;
        let answer = self.take(request);
        self.world.lag().await;
        answer
    }

    fn take(&self, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
        if *locked(&self.down_until) > self.world.now() || self.world.trouble(4) {
            return Err(HttpError::Connect("crm.example".to_owned()));
        }
        let header = |name: &str| request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default();
        let mut heard = Heard {
            id: header("webhook-id"),
            channel: header("ce-source").replace("/membrana/", ""),
            seq: header("ce-sequence").parse().unwrap_or(0),
            name: header("ce-type").trim_start_matches("it.membrana.").trim_end_matches(".v1").to_owned(),
            subject: header("ce-subject"),
            is_taken: false,
        };
        let (status, wait) = match (self.world.trouble(20), self.world.below(20)) {
            (true, 0) => (410, None),
            (true, 1..=8) => (503, None),
            (true, 9..=13) => (429, Some(self.world.below(900))),
            (true, 14..) => (0, None),
            (false, _) => (200, None),
        };
        heard.is_taken = status == 200;
        self.world.tell(format!("crm hears {} of {} {} about {}: {status}", heard.name, heard.channel, heard.seq, heard.subject));
        locked(&self.heard).push(heard);
        let headers = wait.map(|wait_s| ("retry-after".to_owned(), wait_s.to_string())).into_iter().collect();
        if status == 0 { Err(HttpError::Timeout) } else { Ok(HttpResponse { status, headers, body: Vec::new() }) }
    }
}
