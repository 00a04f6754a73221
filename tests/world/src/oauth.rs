//! Logins as networks do them: the authorisation-code flow with PKCE, and refresh tokens that work once. Who shows a used one again
//! loses everything that came of that login. Source: RFC 6749, RFC 7636, RFC 9700 §4.14.2.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::form::Form;
use crate::server::{Server, front, locked};

/// The logins of one application. Cheap to clone.
#[derive(Clone)]
pub struct Oauth(Arc<Mutex<Logins>>);

struct Logins {
    client_id: String,
    client_secret: Option<String>,
    /// As it is told; units: seconds.
    lifetime: Option<u64>,
    is_denied: bool,
    has_refresh: bool,
    /// Code to challenge and address.
    codes: BTreeMap<String, (String, String)>,
    /// Token to login.
    access: BTreeMap<String, u64>,
    refresh: BTreeMap<String, u64>,
    used: BTreeMap<String, u64>,
    /// Used ones that were shown again.
    n_reused: usize,
    n_made: u64,
}

impl Oauth {
    /// An application; without a secret a public one.
    pub fn new(client_id: &str, client_secret: Option<&str>) -> Self {
        Self(Arc::new(Mutex::new(Logins {
            client_id: client_id.to_owned(),
            client_secret: client_secret.map(str::to_owned),
            lifetime: Some(7200),
            is_denied: false,
            has_refresh: true,
            codes: BTreeMap::new(),
            access: BTreeMap::new(),
            refresh: BTreeMap::new(),
            used: BTreeMap::new(),
            n_reused: 0,
            n_made: 0,
        })))
    }

    /// What is said of the life of tokens from now on; none: nothing. Units: seconds.
    pub fn says_lifetime(&self, seconds: Option<u64>) {
        locked(&self.0).lifetime = seconds;
    }

    /// The person says no, from now on.
    pub fn denies(&self, is_denied: bool) {
        locked(&self.0).is_denied = is_denied;
    }

    /// Logins come without a refresh token from now on.
    pub fn without_refresh(&self) {
        locked(&self.0).has_refresh = false;
    }

    /// Every access token is over.
    pub fn expire(&self) {
        locked(&self.0).access.clear();
    }

    /// The person takes every login back.
    pub fn revoke(&self) {
        let mut logins = locked(&self.0);
        logins.access.clear();
        logins.refresh.clear();
    }

    /// Says whether an access token is good.
    pub fn admits(&self, token: &str) -> bool {
        locked(&self.0).access.contains_key(token)
    }

    /// How often a used refresh token was shown again.
    pub fn n_reused(&self) -> usize {
        locked(&self.0).n_reused
    }

    /// Every token that was ever given and is still known: none of them may be seen anywhere.
    pub fn tokens(&self) -> Vec<String> {
        let logins = locked(&self.0);
        logins.access.keys().chain(logins.refresh.keys()).chain(logins.used.keys()).cloned().collect()
    }

    /// `/oauth/authorize` and `/oauth/token`.
    pub(crate) fn router(&self) -> Router {
        Router::new().route("/oauth/authorize", get(authorize)).route("/oauth/token", post(token)).with_state(self.clone())
    }
}

impl Logins {
    fn fresh(&mut self, kind: &str) -> String {
        self.n_made += 1;
        format!("{kind}-{}-of-the-company", self.n_made)
    }

    /// New tokens of a login; older access tokens of it are over.
    fn grant(&mut self, login: u64) -> Value {
        self.access.retain(|_, of| *of != login);
        let access = self.fresh("access");
        self.access.insert(access.clone(), login);
        let mut answer = Map::from_iter([
            ("access_token".to_owned(), json!(access)),
            ("token_type".to_owned(), json!("Bearer")),
            ("scope".to_owned(), json!("read write")),
            ("created_at".to_owned(), json!(1)),
        ]);
        if self.has_refresh {
            let refresh = self.fresh("refresh");
            self.refresh.insert(refresh.clone(), login);
            answer.insert("refresh_token".to_owned(), json!(refresh));
        }
        answer.extend(self.lifetime.map(|seconds| ("expires_in".to_owned(), json!(seconds))));
        Value::Object(answer)
    }

    fn exchange(&mut self, form: &Form) -> Option<Value> {
        let (challenge, redirect) = self.codes.remove(form.or("code", ""))?;
        let proved = URL_SAFE_NO_PAD.encode(Sha256::digest(form.or("code_verifier", "")));
        if proved != challenge || form.or("redirect_uri", "") != redirect {
            return None;
        }
        self.n_made += 1;
        let login = self.n_made;
        Some(self.grant(login))
    }

    fn renew(&mut self, form: &Form) -> Option<Value> {
        let shown = form.or("refresh_token", "");
        if let Some(login) = self.used.get(shown).copied() {
            self.n_reused += 1;
            self.access.retain(|_, of| *of != login);
            self.refresh.retain(|_, of| *of != login);
        }
        let login = self.refresh.remove(shown)?;
        self.used.insert(shown.to_owned(), login);
        Some(self.grant(login))
    }

    fn is_client(&self, headers: &HeaderMap, form: &Form) -> bool {
        let basic = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
        let basic = basic.and_then(|text| String::from_utf8(STANDARD.decode(text).ok()?).ok());
        match &self.client_secret {
            None => form.or("client_id", "") == self.client_id,
            Some(secret) if basic.is_some() => basic == Some(format!("{}:{secret}", self.client_id)),
            Some(secret) => form.or("client_id", "") == self.client_id && form.or("client_secret", "") == secret,
        }
    }
}

/// The person is asked, and answers at once. The body holds the address that `Location` names.
async fn authorize(State(oauth): State<Oauth>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let mut logins = locked(&oauth.0);
    let of = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
    let is_sound = of("response_type") == "code" && of("client_id") == logins.client_id && of("code_challenge_method") == "S256";
    if !is_sound || of("redirect_uri").is_empty() || of("code_challenge").len() != 43 {
        return (StatusCode::BAD_REQUEST, "no login was asked for\n").into_response();
    }
    let answer = if logins.is_denied {
        "error=access_denied&error_description=The+resource+owner+denied+the+request".to_owned()
    } else {
        let code = logins.fresh("code");
        logins.codes.insert(code.clone(), (of("code_challenge").to_owned(), of("redirect_uri").to_owned()));
        format!("code={code}")
    };
    let location = format!("{}?{answer}&state={}", of("redirect_uri"), of("state"));
    (StatusCode::FOUND, [("location", location.clone())], location).into_response()
}

async fn token(State(oauth): State<Oauth>, headers: HeaderMap, body: String) -> Response {
    let (mut logins, form) = (locked(&oauth.0), Form::read(&body));
    let refusal = |status: StatusCode, code: &str| {
        let said = json!({ "error": code, "error_description": format!("what was sent: {body}") });
        (status, Json(said)).into_response()
    };
    if !logins.is_client(&headers, &form) {
        return refusal(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let granted = match form.or("grant_type", "") {
        "authorization_code" => logins.exchange(&form),
        "refresh_token" => logins.renew(&form),
        _ => return refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
    };
    granted.map_or_else(|| refusal(StatusCode::BAD_REQUEST, "invalid_grant"), |tokens| Json(tokens).into_response())
}

/// A network with logins and one thing behind them: `/api` shows who has a good token what was sent.
pub struct OauthServer {
    server: Server,
}

front!(OauthServer);

impl OauthServer {
    /// Starts it on a free port.
    pub async fn start(oauth: &Oauth) -> std::io::Result<Self> {
        let router = oauth.router().merge(Router::new().route("/api", get(api).post(api)).with_state(oauth.clone()));
        Ok(Self { server: Server::start(router).await? })
    }
}

async fn api(State(oauth): State<Oauth>, headers: HeaderMap) -> Response {
    let sent = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_good = sent.strip_prefix("Bearer ").is_some_and(|token| oauth.admits(token));
    // Its clock is a day behind, and it says that the host spoke: neither is to be believed.
    let headers = [("date", "Tue, 24 Nov 2020 01:00:00 GMT"), ("x-membrana", "bad-credentials")];
    let status = if is_good { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
    (status, headers, format!("you sent {sent}\n")).into_response()
}
