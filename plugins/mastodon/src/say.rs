//! Replies: to those addressed, never to more people than could read what is answered.

use membrana_sdk::connector::{Message, Receipt, Sent};
use membrana_sdk::{Fault, NativeId, Result};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::Section;
use crate::api::Api;
use crate::shapes::{ReplyContext, Status, plain};

/// Every server allows so many; beyond it the server is asked. Units: characters.
const LENGTH_SURE: usize = 400;
/// What Mastodon allows where a server does not say.
const LENGTH_DEFAULT: u64 = 500;
/// Own statuses looked through for one that may have gone out.
const LOOKED_THROUGH: u32 = 20;

#[derive(Debug, Deserialize)]
struct Instance {
    #[serde(default)]
    configuration: Json,
}

fn context(message: &Message) -> Result<ReplyContext> {
    let target = message.to.as_ref().ok_or_else(|| Fault::unsupported("a post that answers nothing"))?;
    let context = target.reply_context.as_deref().and_then(|text| serde_json::from_str(text).ok());
    context.ok_or_else(|| Fault::permanent("mastodon.no-context", "it is not known what this answers"))
}

/// With the names of those addressed in front, where they are not there yet.
fn addressed(text: &str, accts: &[String]) -> String {
    let missing: Vec<String> = accts.iter().take(1).filter(|acct| !text.contains(&format!("@{acct}"))).map(|acct| format!("@{acct} ")).collect();
    format!("{}{text}", missing.concat())
}

pub(crate) fn send(section: &Section, api: &Api, key: &str, message: &Message) -> Result<Receipt> {
    let context = context(message)?;
    let text = addressed(&message.text, &context.accts);
    let n_chars = text.chars().count();
    if n_chars > LENGTH_SURE {
        let instance: Instance = api.get("/api/v2/instance")?;
        let most = instance.configuration.pointer("/statuses/max_characters").and_then(Json::as_u64).unwrap_or(LENGTH_DEFAULT);
        if u64::try_from(n_chars).unwrap_or(u64::MAX) > most {
            return Err(Fault::permanent("mastodon.too-long", format!("{n_chars} characters; this server takes {most}")));
        }
    }
    let language = message.to.as_ref().and_then(|target| target.language.clone());
    let mut body = json!({ "status": text, "in_reply_to_id": context.id, "visibility": context.visibility });
    if let (Some(language), Some(object)) = (language, body.as_object_mut()) {
        object.insert("language".to_owned(), Json::from(language));
    }
    let status: Status = api.post("/api/v1/statuses", key, &body)?;
    Ok(receipt(section, status))
}

fn receipt(section: &Section, status: Status) -> Receipt {
    Receipt {
        native: NativeId { scope: String::new(), id: status.uri },
        aka: vec![NativeId { scope: section.host(), id: status.id }],
        url: status.url,
        attrs: Vec::new(),
    }
}

pub(crate) fn probe(section: &Section, api: &Api, message: &Message) -> Result<(Sent, Option<Receipt>)> {
    let context = context(message)?;
    let me = api.me()?;
    let own: Vec<Status> = api.get(&format!("/api/v1/accounts/{}/statuses?limit={LOOKED_THROUGH}", me.id))?;
    let wanted = message.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_it = |status: &Status| {
        let said = plain(&status.content).split_whitespace().collect::<Vec<_>>().join(" ");
        status.in_reply_to_id.as_deref() == Some(context.id.as_str()) && said.ends_with(&wanted)
    };
    let is_whole = own.len() < usize::try_from(LOOKED_THROUGH).unwrap_or(0);
    match own.into_iter().find(is_it) {
        Some(status) => Ok((Sent::Yes, Some(receipt(section, status)))),
        // Beyond the statuses looked through it could still be there.
        None => Ok((if is_whole { Sent::No } else { Sent::Unknown }, None)),
    }
}
