//! `membrana channel login`: a person says yes in the browser, the network answers on loopback, the tokens are sealed.
//!
//! One answer is taken, and only one that carries this login's own state. Nothing of it is printed: not the code, not a token.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::Html;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::app::{LoginPlace, login_place, process_env};
use crate::config::{self, Config};
use crate::egress::{LoggedIn, Login, LoginError};

use super::call::{Caller, Purpose};
use super::outcome::{Failure, aside, put, put_json};
use super::things::one;

/// A person is waited for so long.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two lines that say so.
const PROGRESS: Duration = Duration::from_secs(15);
/// The page is given so long to leave.
const PAGE_WAIT: Duration = Duration::from_millis(300);
/// Of what a network says in its refusal. Units: characters.
const WORDS_MAX: usize = 200;
const PAGE: &str =
    "<!doctype html><meta charset=\"utf-8\"><title>membrana</title><p>Thank you. membrana goes on in the terminal; this page can be closed.</p>";

/// What was asked for.
pub(super) struct Wish {
    pub(super) channel: String,
    pub(super) credential: Option<String>,
    pub(super) opens_browser: bool,
    /// 0: any.
    pub(super) port: u16,
}

/// What the network's answer carries.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    #[serde(default)]
    state: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

/// Logs an account in, from the configuration to a channel that goes on.
pub(super) async fn run(file: &Path, is_json: bool, wish: Wish) -> Result<(), Failure> {
    let (config, report) = config::read_what_is_there(file, process_env().as_ref());
    let Some(config) = config else { return Err(Failure::Config(report)) };
    let place = match login_place(&config, &wish.channel, wish.credential.as_deref()) {
        Ok(place) => place,
        // What is missing may be what could not be read.
        Err(_) if report.has_errors() => return Err(Failure::Config(report)),
        Err((message, cure)) => return Err(Failure::Failed(message, cure)),
    };
    let listener = listen(wish.port).await?;
    let address = listener.local_addr().map_err(|error| Failure::failed(error.to_string(), ""))?;
    let redirect = format!("http://{address}/callback");
    let login = place.tokens.begin_login(&place.authorize, &place.scopes, &redirect).map_err(|error| failure(&error, &redirect))?;
    show(&login, &wish, &config, is_json)?;
    let code = answer(listener, &login).await?;
    let told = place.tokens.end_login(&login, &code).await.map_err(|error| failure(&error, &redirect))?;
    let is_host_told = go_on(file, &wish.channel).await;
    tell(&wish.channel, &place, &told, is_host_told, is_json)
}

async fn listen(port: u16) -> Result<TcpListener, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.map_err(|error| {
        let cure = "end what listens there, or name another port by --port (and register it at the network), or leave --port out";
        Failure::failed(format!("cannot listen on {address} for the network's answer: {error}"), cure)
    })
}

fn show(login: &Login, wish: &Wish, config: &Config, is_json: bool) -> Result<(), Failure> {
    if is_json {
        put_json(json!({ "channel": wish.channel, "open": login.url, "wait_s": PATIENCE.as_secs() }))?;
    } else {
        put(format_args!("log in as the account of `{}` here:\n{}", wish.channel, login.url))?;
        aside(format_args!("the tokens go, sealed, into {}", config.host.data.join("credentials").display()));
    }
    if wish.opens_browser {
        let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        let opened = Command::new(opener).arg(&login.url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        if opened.is_err() {
            aside("no browser could be opened; open the address by hand");
        }
    }
    Ok(())
}

/// Waits for the person. Gives the code.
async fn answer(listener: TcpListener, login: &Login) -> Result<String, Failure> {
    let (sender, mut answers) = mpsc::channel::<Answer>(1);
    let take = async |State(sender): State<mpsc::Sender<Answer>>, Query(answer): Query<Answer>| {
        // A second one is one too many.
        drop(sender.try_send(answer));
        Html(PAGE)
    };
    let router = Router::new().route("/callback", get(take)).with_state(sender);
    let served = axum::serve(listener, router);
    let waiting = async {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if let Ok(answer) = timeout(PROGRESS.min(left), answers.recv()).await {
                // The browser is still being answered.
                tokio::time::sleep(PAGE_WAIT).await;
                return answer;
            }
            if left.is_zero() {
                return None;
            }
            aside(format_args!("waiting for the login in the browser, {} s more", end.saturating_duration_since(Instant::now()).as_secs()));
        }
    };
    let answer = tokio::select! {
        answer = waiting => answer,
        ended = served.into_future() => return Err(Failure::failed(format!("the wait for the network's answer ended: {ended:?}"), "try again")),
    };
    let late = || Failure::failed(format!("nobody logged in within {} s", PATIENCE.as_secs()), "run it again; what was in force stays");
    judged(answer.ok_or_else(late)?, login)
}

fn judged(answer: Answer, login: &Login) -> Result<String, Failure> {
    if !login.has_state(&answer.state) {
        let cure = "an older tab, or somebody else's page? close it, and run it again; what was in force stays";
        return Err(Failure::failed("an answer came that is not of this login: its `state` is another", cure));
    }
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect::<String>();
    match (answer.error.as_str(), answer.code) {
        ("", code) if !code.is_empty() => Ok(code),
        ("", _) => Err(Failure::failed("the network's answer holds no code", "run it again; what was in force stays")),
        ("access_denied", _) => {
            Err(Failure::failed("the login was denied in the browser", "run it again and say yes to the application; what was in force stays"))
        }
        (error, _) => {
            let message = format!("the network refuses the login: {} {}", short(error), short(&answer.error_description));
            Err(Failure::failed(message.trim_end(), "look at the application's settings at the network: scopes and redirect addresses"))
        }
    }
}

fn failure(error: &LoginError, redirect: &str) -> Failure {
    let cure = match error {
        LoginError::Refused(code) if code == "invalid_client" => "are `client_id` and `client_secret` those of the application?".to_owned(),
        LoginError::Refused(_) => format!("is {redirect} a redirect address of the application at the network? --port keeps the port the same"),
        LoginError::Denied(_) => "then run it again; `membrana check` shows the whole line".to_owned(),
        LoginError::Address(_) | LoginError::Random | LoginError::Later(_) => "run it again; what was in force stays".to_owned(),
    };
    Failure::failed(error.to_string(), cure)
}

/// Ends `bad-credentials`, so that a running host looks at once. Says whether that was heard: if not, the host sees the tokens by
/// itself within a minute.
async fn go_on(file: &Path, channel: &str) -> bool {
    let Ok(caller) = Caller::open(file, Purpose::Judge).await else { return false };
    let told = async {
        let mut is_refused = false;
        let mut look = |line: &str| {
            let listed: Json = serde_json::from_str(line).unwrap_or_default();
            is_refused |= listed.get("name") == Some(&json!(channel)) && listed.get("state") == Some(&json!("bad-credentials"));
            Ok(())
        };
        caller.lines("GET", "/api/v1/channels", None, &mut look).await?;
        if is_refused { caller.thing("POST", &one("channels", channel, "/resume"), None).await.map(drop) } else { Ok(()) }
    };
    let is_told = told.await.is_ok();
    caller.close().await.is_ok() && is_told
}

fn tell(channel: &str, place: &LoginPlace, told: &LoggedIn, is_host_told: bool, is_json: bool) -> Result<(), Failure> {
    if is_json {
        return put_json(json!({
            "channel": channel,
            "credential": place.credential,
            "logged_in": true,
            "scope": told.scope,
            "expires_in_s": told.expires_in.map(|life| life.as_secs()),
            "renewed_by_host": told.is_renewed,
        }));
    }
    if !is_host_told {
        aside("the host could not be told; it looks at the new tokens by itself within a minute");
    }
    if let (Some(life), false) = (told.expires_in, told.is_renewed) {
        aside(format_args!("warning: the network gives no refresh token: log in again within {} hours", life.as_secs() / 3600));
    }
    put(format_args!("`{channel}` is logged in; the tokens of credential `{}` are sealed", place.credential))
}
