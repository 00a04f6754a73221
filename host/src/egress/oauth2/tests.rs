//! Tokens against a network that rotates refresh tokens and takes everything back where a used one is shown again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use membrana_world::{Next, Oauth, OauthServer, call};
use tempfile::TempDir;

use super::*;
use crate::egress::{Credential, DoorConfig, Egress, HttpGrant, HttpResponse, Inject, Resolver, SystemResolver};

const REFRESH: &str = "POST /oauth/token";
const TOKENS: &str = "grant_type=refresh_token";

/// A network with logins, and the folder of a host that an account of it logged in at.
struct Scene {
    oauth: Oauth,
    server: OauthServer,
    clock: Clock,
    dir: TempDir,
    renewals: Arc<Renewals>,
}

impl Scene {
    async fn new() -> Self {
        let oauth = Oauth::new("app one", Some("client-s3cret"));
        let server = OauthServer::start(&oauth).await.unwrap();
        Self { oauth, server, clock: Clock::simulated(Timestamp(1_790_000_000_000)), dir: tempfile::tempdir().unwrap(), renewals: Arc::default() }
    }

    async fn logged_in() -> Self {
        let scene = Self::new().await;
        scene.log_in().await;
        scene
    }

    fn egress(&self) -> Arc<Egress> {
        Egress::new(&[], Arc::new(SystemResolver) as Arc<dyn Resolver>).unwrap()
    }

    /// As one process holds them.
    fn tokens(&self) -> Arc<Tokens> {
        let client = Client {
            token_url: format!("{}/oauth/token", self.server.url()),
            id: Secret::new("app one"),
            secret: Some(Secret::new("client-s3cret")),
            auth: ClientAuth::Body,
        };
        let http = vec![HttpGrant::parse(&self.server.url()).unwrap()];
        let door = self.egress().door(DoorConfig { http, ..DoorConfig::default() });
        Tokens::new(client, ("masto", "token"), self.folder(), door, self.clock.clone(), Arc::clone(&self.renewals))
    }

    fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// The guest's door over these tokens; `secrets` of the configuration beside them.
    fn door(&self, tokens: &Arc<Tokens>, secrets: &[&str]) -> Arc<Door> {
        let http = vec![HttpGrant::parse(&self.server.url()).unwrap()];
        let secrets = secrets.iter().map(|secret| Secret::new(secret)).collect();
        let plain = Credential::plain("token", secrets, Inject::OAuth2, http.clone(), Vec::new());
        let credential = Credential { tokens: Some(Arc::clone(tokens)), ..plain };
        Arc::new(self.egress().door(DoorConfig { http, credentials: vec![credential], ..DoorConfig::default() }))
    }

    async fn log_in(&self) -> LoggedIn {
        let tokens = self.tokens();
        let redirect = "http://127.0.0.1:1/callback";
        let login = tokens.begin_login(&format!("{}/oauth/authorize", self.server.url()), &["read".to_owned()], redirect).unwrap();
        let path = login.url.strip_prefix(&self.server.url()).unwrap();
        let back = url::Url::parse(&call(self.server.address(), "GET", path, &[], b"").await.unwrap().body).unwrap();
        let of = |key: &str| back.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.into_owned()).unwrap();
        assert!(login.has_state(&of("state")) && !login.has_state("another"));
        tokens.end_login(&login, &of("code")).await.unwrap()
    }

    fn n_refreshes(&self) -> usize {
        self.server.ledger().asked(REFRESH).iter().filter(|asked| asked.body.contains(TOKENS)).count()
    }

    fn n_api(&self) -> usize {
        self.server.ledger().asked("GET /api").len()
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn put_back(&self, seconds: u64) {
        self.clock.put_back(Duration::from_secs(seconds));
    }
}

async fn get(scene: &Scene, door: &Door) -> Result<HttpResponse, HttpError> {
    let url = format!("{}/api", scene.server.url());
    door.http(HttpRequest { method: "GET".to_owned(), url, headers: Vec::new(), body: Vec::new(), auth: Some("token".to_owned()), timeout: None })
        .await
}

fn is_own(answer: &HttpResponse) -> bool {
    answer.status == 401 && answer.headers.contains(&("x-membrana".to_owned(), "bad-credentials".to_owned()))
}

#[tokio::test]
async fn before_a_login_the_host_itself_answers_and_the_network_is_not_asked() {
    let scene = Scene::new().await;
    let door = scene.door(&scene.tokens(), &[]);

    let answer = get(&scene, &door).await.unwrap();

    assert!(is_own(&answer), "{answer:?}");
    assert!(String::from_utf8(answer.body).unwrap().contains("membrana channel login masto"));
    assert!(scene.server.ledger().calls().is_empty());

    // A login in another process is seen by itself.
    let told = scene.log_in().await;
    assert_eq!((told.expires_in, told.is_renewed, told.scope.as_deref()), (Some(Duration::from_secs(7200)), true, Some("read write")));
    assert_eq!(get(&scene, &door).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_token_is_renewed_at_four_fifths_of_its_life_by_our_own_clock() {
    let scene = Scene::logged_in().await;
    let door = scene.door(&scene.tokens(), &[]);
    scene.advance(5759);
    assert_eq!(get(&scene, &door).await.unwrap().status, 200);
    assert_eq!(scene.n_refreshes(), 0, "the network's date, years behind, counts for nothing");

    scene.advance(1);
    assert_eq!(get(&scene, &door).await.unwrap().status, 200);
    assert_eq!((scene.n_refreshes(), scene.n_api()), (1, 2), "renewed before it was refused");
    assert_eq!(get(&scene, &door).await.unwrap().status, 200);
    assert_eq!((scene.n_refreshes(), scene.oauth.n_reused()), (1, 0));
}

#[tokio::test]
async fn a_clock_that_was_set_back_renews_rather_than_trusts() {
    let scene = Scene::logged_in().await;
    let earlier = Scene { clock: Clock::simulated(Timestamp(1_600_000_000_000)), ..scene };
    let door = earlier.door(&earlier.tokens(), &[]);

    assert_eq!(get(&earlier, &door).await.unwrap().status, 200);
    assert_eq!(get(&earlier, &door).await.unwrap().status, 200);

    assert_eq!(earlier.n_refreshes(), 1);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_for_all_who_wait() {
    let scene = Scene::logged_in().await;
    let door = scene.door(&scene.tokens(), &[]);
    scene.oauth.expire();
    scene.server.next(REFRESH, Next::Delay(Duration::from_millis(100)));

    let answers = futures_util::future::join_all((0..6).map(|_| get(&scene, &door))).await;

    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.status == 200)), "{answers:?}");
    assert_eq!((scene.n_refreshes(), scene.oauth.n_reused()), (1, 0));
}

#[tokio::test]
async fn two_processes_make_one_refresh() {
    let scene = Scene::logged_in().await;
    let (one, other) = (scene.door(&scene.tokens(), &[]), scene.door(&scene.tokens(), &[]));
    assert_eq!(get(&scene, &one).await.unwrap().status, 200);
    assert_eq!(get(&scene, &other).await.unwrap().status, 200);
    scene.advance(7000);
    scene.server.next(REFRESH, Next::Delay(Duration::from_millis(100)));

    let (first, second) = tokio::join!(get(&scene, &one), get(&scene, &other));

    assert_eq!((first.unwrap().status, second.unwrap().status), (200, 200));
    assert_eq!((scene.n_refreshes(), scene.oauth.n_reused()), (1, 0));
}

#[tokio::test]
async fn new_tokens_are_durable_before_they_are_used() {
    let scene = Scene::logged_in().await;
    let tokens = scene.tokens();
    let used = tokens.access().await.unwrap();
    scene.oauth.expire();

    let fresh = tokens.renew(&used, Cause::Refused).await.unwrap();

    // The process ends here, before the token was used even once; the next one has it, and its refresh token.
    drop(tokens);
    let next = scene.tokens();
    assert_eq!(next.access().await.unwrap(), fresh);
    scene.oauth.expire();
    assert_eq!(get(&scene, &scene.door(&next, &[])).await.unwrap().status, 200);
    assert_eq!((scene.n_refreshes(), scene.oauth.n_reused()), (2, 0), "the rotated token was kept, not the first one");
}

#[tokio::test]
async fn a_refresh_whose_caller_gave_up_is_brought_to_its_end() {
    let scene = Scene::logged_in().await;
    let tokens = scene.tokens();
    let used = tokens.access().await.unwrap();
    scene.oauth.expire();
    scene.server.next(REFRESH, Next::Delay(Duration::from_millis(200)));

    let gone = tokio::time::timeout(Duration::from_millis(50), tokens.renew(&used, Cause::Refused)).await;

    assert!(gone.is_err());
    let fresh = tokens.access().await.unwrap();
    assert!(fresh != used && scene.oauth.admits(fresh.expose()));
    assert_eq!((scene.n_refreshes(), scene.oauth.n_reused()), (1, 0));
}

#[tokio::test]
async fn a_host_that_stops_waits_for_a_refresh_whose_caller_gave_up() {
    let scene = Scene::logged_in().await;
    let tokens = scene.tokens();
    let used = tokens.access().await.unwrap();
    scene.server.next(REFRESH, Next::Delay(Duration::from_millis(200)));
    let gone = tokio::time::timeout(Duration::from_millis(50), tokens.renew(&used, Cause::Refused)).await;
    assert!(gone.is_err());

    scene.renewals.end().await;

    let kept = scene.tokens().access().await.unwrap();
    assert!(kept != used && scene.oauth.admits(kept.expose()), "what it brought is there at the next start");
    assert_eq!((scene.n_refreshes(), scene.oauth.n_reused()), (1, 0));
}

/// The name of the next sealed file is taken by a folder, which is given back: until it is removed nothing can be sealed.
fn take_name(scene: &Scene) -> std::path::PathBuf {
    let name: String = blake3::hash(b"masto\ntoken").to_hex().chars().take(32).collect();
    let taken = scene.folder().join(format!("{name}.{}.tmp", std::process::id()));
    std::fs::create_dir(&taken).unwrap();
    taken
}

#[tokio::test]
async fn a_host_that_stops_seals_what_the_disk_did_not_take_before() {
    let scene = Scene::logged_in().await;
    let tokens = scene.tokens();
    let used = tokens.access().await.unwrap();
    let taken = take_name(&scene);
    assert!(tokens.renew(&used, Cause::Refused).await.is_err());
    std::fs::remove_dir(&taken).unwrap();

    scene.renewals.end().await;

    let kept = scene.tokens().access().await.unwrap();
    assert!(kept != used && scene.oauth.admits(kept.expose()));
    assert_eq!((scene.n_refreshes(), scene.oauth.n_reused()), (1, 0));
}

#[tokio::test]
async fn tokens_that_cannot_be_kept_are_not_used_and_not_asked_for_again() {
    let scene = Scene::logged_in().await;
    let tokens = scene.tokens();
    let door = scene.door(&tokens, &[]);
    scene.oauth.expire();
    let taken = take_name(&scene);

    let refused = get(&scene, &door).await;
    assert!(matches!(&refused, Err(HttpError::Connect(why)) if why.contains("cannot be kept")), "{refused:?}");
    assert_eq!((scene.n_api(), scene.n_refreshes()), (1, 1));

    std::fs::remove_dir(&taken).unwrap();
    let tokens = scene.tokens();
    let after_a_reload = scene.door(&tokens, &[]);
    assert_eq!(get(&scene, &after_a_reload).await.unwrap().status, 200);
    let access = tokens.access().await.unwrap();
    assert!(tokens.seen().contains(&access), "answers are scrubbed of it");
    assert_eq!((scene.n_refreshes(), scene.oauth.n_reused()), (1, 0), "the same tokens, kept late");
}

#[tokio::test]
async fn a_refused_refresh_ends_in_bad_credentials_until_the_next_login() {
    let scene = Scene::logged_in().await;
    let door = scene.door(&scene.tokens(), &[]);
    scene.oauth.revoke();

    for _ in 0..3 {
        assert!(is_own(&get(&scene, &door).await.unwrap()));
        scene.advance(3600);
    }
    assert_eq!((scene.n_refreshes(), scene.n_api()), (1, 1), "it is not asked again and again");

    scene.log_in().await;
    assert_eq!(get(&scene, &door).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_token_endpoint_in_trouble_is_no_bad_credential() {
    let scene = Scene::logged_in().await;
    let door = scene.door(&scene.tokens(), &[]);
    scene.advance(6000);
    scene.server.next(REFRESH, Next::status(503));
    assert_eq!(get(&scene, &door).await.unwrap().status, 200, "the old one is good for another while");
    assert_eq!(get(&scene, &door).await.unwrap().status, 200);
    assert_eq!(scene.n_refreshes(), 1, "a pause after a failure");

    scene.advance(1200);
    let cut = Next::CutBody(10);
    scene.server.next(REFRESH, Next::Answer { status: 403, headers: Vec::new(), body: "<html>blocked</html>".to_owned() });
    let late = get(&scene, &door).await;
    assert!(matches!(&late, Err(HttpError::Connect(why)) if why.contains("403")), "{late:?}");
    scene.advance(6);
    assert_eq!(get(&scene, &door).await.unwrap().status, 200);
    assert_eq!(scene.oauth.n_reused(), 0);

    // An answer that was cut may have used the refresh token up: only the network can tell.
    scene.advance(7200);
    scene.server.next(REFRESH, cut);
    assert!(matches!(get(&scene, &door).await, Err(HttpError::Connect(_))));
    scene.advance(6);
    assert!(is_own(&get(&scene, &door).await.unwrap()), "it was used up");
}

#[tokio::test]
async fn a_clock_that_ran_ahead_and_is_set_right_keeps_no_refresh_waiting() {
    for answer in [Next::status(503), Next::Answer { status: 401, headers: Vec::new(), body: "{\"error\":\"invalid_client\"}".to_owned() }] {
        let scene = Scene::logged_in().await;
        let door = scene.door(&scene.tokens(), &[]);
        scene.advance(30 * 86_400);
        scene.server.next(REFRESH, answer);
        assert_ne!(get(&scene, &door).await.map(|answer| answer.status).unwrap_or_default(), 200, "it is refused for now");

        scene.put_back(29 * 86_400);

        assert_eq!(get(&scene, &door).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_token_that_is_refused_although_it_is_new_is_not_renewed_again_for_a_while() {
    let scene = Scene::logged_in().await;
    let door = scene.door(&scene.tokens(), &[]);
    for _ in 0..4 {
        scene.server.next("GET /api", Next::status(401));
    }

    for _ in 0..3 {
        let answer = get(&scene, &door).await.unwrap();
        assert!(answer.status == 401 && !is_own(&answer), "it is the network's own word: {answer:?}");
    }
    assert_eq!(scene.n_refreshes(), 1);

    // The network's mishap is over, and so is the token meanwhile.
    scene.oauth.expire();
    assert_eq!(get(&scene, &door).await.unwrap().status, 401);
    scene.advance(600);
    assert_eq!(get(&scene, &door).await.unwrap().status, 200);
    assert_eq!((scene.n_refreshes(), scene.oauth.n_reused()), (2, 0));
}

#[tokio::test]
async fn a_token_of_the_configuration_stands_in_and_is_never_renewed() {
    let scene = Scene::new().await;
    let door = scene.door(&scene.tokens(), &["pasted-token"]);

    let answer = get(&scene, &door).await.unwrap();

    assert_eq!(scene.server.ledger().asked("GET /api")[0].header("authorization"), Some("Bearer pasted-token"));
    assert!(answer.status == 401 && !is_own(&answer), "nobody but the host may say what the host says: {answer:?}");
    assert_eq!(scene.n_refreshes(), 0);
}

#[tokio::test]
async fn without_a_refresh_token_it_is_good_until_it_is_refused() {
    let scene = Scene::new().await;
    scene.oauth.without_refresh();
    assert!(!scene.log_in().await.is_renewed);
    let door = scene.door(&scene.tokens(), &[]);
    scene.advance(100_000);
    assert_eq!(get(&scene, &door).await.unwrap().status, 200);

    scene.oauth.expire();

    assert!(is_own(&get(&scene, &door).await.unwrap()));
    assert_eq!(scene.n_refreshes(), 0);
}

#[tokio::test]
async fn one_refusal_is_not_the_end_of_a_login_without_a_refresh_token() {
    let scene = Scene::new().await;
    scene.oauth.without_refresh();
    scene.log_in().await;
    let door = scene.door(&scene.tokens(), &[]);
    scene.server.next("GET /api", Next::status(401));

    assert!(is_own(&get(&scene, &door).await.unwrap()));
    assert!(is_own(&get(&scene, &door).await.unwrap()), "it is not asked again at once");
    scene.advance(601);

    assert_eq!(get(&scene, &door).await.unwrap().status, 200, "it was the network's own mishap");
}

#[tokio::test]
async fn one_place_that_always_refuses_rotates_no_refresh_token_call_by_call() {
    let scene = Scene::logged_in().await;
    let door = scene.door(&scene.tokens(), &[]);

    for n in 0..10 {
        assert_eq!(get(&scene, &door).await.unwrap().status, 200);
        // Asked again with another token at the first time alone.
        (0..if n == 0 { 2 } else { 1 }).for_each(|_| scene.server.next("GET /api", Next::status(401)));
        assert_eq!(get(&scene, &door).await.unwrap().status, 401);
    }

    assert_eq!((scene.n_refreshes(), scene.oauth.n_reused()), (1, 0));
}

#[tokio::test]
async fn a_token_whose_refresh_is_refused_in_passing_is_used_to_its_end() {
    let scene = Scene::logged_in().await;
    let door = scene.door(&scene.tokens(), &[]);
    scene.advance(6000);
    scene.server.next(REFRESH, Next::status(401));

    assert_eq!(get(&scene, &door).await.unwrap().status, 200);
    assert_eq!(get(&scene, &door).await.unwrap().status, 200);
    assert_eq!(scene.n_refreshes(), 1, "not asked again at once");
    scene.advance(600);
    assert_eq!(get(&scene, &door).await.unwrap().status, 200);
    assert_eq!(scene.n_refreshes(), 2);
}

#[tokio::test]
async fn a_login_that_was_taken_back_is_not_made_up_for_by_a_token_of_the_configuration() {
    let scene = Scene::logged_in().await;
    let door = scene.door(&scene.tokens(), &["pasted-token"]);
    scene.oauth.revoke();

    for _ in 0..2 {
        assert!(is_own(&get(&scene, &door).await.unwrap()));
    }
    let asked = scene.server.ledger().asked("GET /api");
    assert!(asked.iter().all(|asked| asked.header("authorization") != Some("Bearer pasted-token")), "perhaps another account's");
}

#[tokio::test]
async fn tokens_of_one_network_are_shown_to_no_other() {
    let scene = Scene::logged_in().await;
    let other = Oauth::new("app one", Some("client-s3cret"));
    let server = OauthServer::start(&other).await.unwrap();
    let elsewhere = Scene { oauth: other, server, clock: scene.clock.clone(), dir: scene.dir, renewals: Arc::default() };

    let answer = get(&elsewhere, &elsewhere.door(&elsewhere.tokens(), &[])).await.unwrap();

    assert!(is_own(&answer) && String::from_utf8_lossy(&answer.body).contains("nobody logged in"), "{answer:?}");
    assert!(elsewhere.server.ledger().calls().is_empty());
}

#[tokio::test]
async fn no_token_old_or_new_comes_back_to_the_guest() {
    let scene = Scene::logged_in().await;
    let door = scene.door(&scene.tokens(), &[]);
    let first = get(&scene, &door).await.unwrap();
    scene.oauth.expire();
    let second = get(&scene, &door).await.unwrap();

    for answer in [first, second] {
        let said = format!("{:?} {}", answer.headers, String::from_utf8(answer.body).unwrap());
        assert!(said.contains("you sent Bearer ****"), "{said}");
        assert!(scene.oauth.tokens().iter().all(|token| !said.contains(token)), "{said}");
    }
    let on_disk: Vec<u8> = std::fs::read_dir(scene.folder()).unwrap().flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    let on_disk = String::from_utf8_lossy(&on_disk).into_owned();
    assert!(!on_disk.contains("of-the-company") && !on_disk.contains("client-s3cret"));
}

#[tokio::test]
async fn the_client_proves_itself_as_its_manifest_says() {
    let client = |secret: Option<&str>, auth| Client {
        token_url: "https://a.example/token".to_owned(),
        id: Secret::new("app one"),
        secret: secret.map(Secret::new),
        auth,
    };
    let sent = |client: Client| {
        let request = client.request(&[("grant_type", "refresh_token")]);
        let header = request.headers.iter().find(|(name, _)| name == "authorization").map(|(_, value)| value.clone());
        (header, String::from_utf8(request.body).unwrap())
    };
    let basic = format!("Basic {}", STANDARD.encode("app+one:s%3A1"));
    assert_eq!(sent(client(Some("s:1"), ClientAuth::Basic)), (Some(basic), "grant_type=refresh_token".to_owned()));
    let body = "grant_type=refresh_token&client_id=app+one&client_secret=s%3A1".to_owned();
    assert_eq!(sent(client(Some("s:1"), ClientAuth::Body)), (None, body));
    assert_eq!(sent(client(None, ClientAuth::Basic)), (None, "grant_type=refresh_token&client_id=app+one".to_owned()));
}

#[tokio::test]
async fn a_login_with_another_code_or_application_gives_no_tokens() {
    let scene = Scene::new().await;
    let tokens = scene.tokens();
    let login = tokens.begin_login(&format!("{}/oauth/authorize", scene.server.url()), &[], "http://127.0.0.1:1/callback").unwrap();

    assert_eq!(tokens.end_login(&login, "guessed").await, Err(LoginError::Refused("invalid_grant".to_owned())));

    assert!(is_own(&get(&scene, &scene.door(&tokens, &[])).await.unwrap()));
    assert!(tokens.begin_login("no url", &[], "x").is_err());
}
