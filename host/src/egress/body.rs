//! A credential inside a JSON body, for networks that know a login by form alone: the guest leaves the place empty, the host
//! fills it in. Anything else in the body stays what it was.

use serde_json::Value as Json;
use zeroize::Zeroize as _;

use super::Secret;

/// The body with the secret at `pointer`, where an empty text stands. Errors: in words; nothing was filled in.
pub(super) fn filled(body: &[u8], pointer: &str, secret: &Secret) -> Result<Vec<u8>, String> {
    let mut json: Json = serde_json::from_slice(body).map_err(|_| "the body is no JSON, and a credential belongs into it".to_owned())?;
    match json.pointer_mut(pointer) {
        Some(Json::String(place)) if place.is_empty() => secret.expose().clone_into(place),
        _ => return Err(format!("the body has no empty text at `{pointer}`, where a credential belongs")),
    }
    let filled = serde_json::to_vec(&json).map_err(|error| error.to_string());
    if let Some(Json::String(place)) = json.pointer_mut(pointer) {
        place.zeroize();
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_goes_where_the_guest_left_room_and_nowhere_else() {
        let secret = Secret::new("p\"w");
        let body = filled(br#"{"username":"support","password":"","n":9007199254740993}"#, "/password", &secret).unwrap();
        let json: Json = serde_json::from_slice(&body).unwrap();
        assert_eq!(json, serde_json::json!({ "username": "support", "password": "p\"w", "n": 9_007_199_254_740_993_u64 }));
        for (body, pointer) in [(r#"{"password":"mine"}"#, "/password"), (r#"{"password":null}"#, "/password"), ("{}", "/password"), ("user=x", "/x")]
        {
            let refused = filled(body.as_bytes(), pointer, &secret).unwrap_err();
            assert!(!refused.contains("p\"w"), "{refused}");
        }
    }
}
