//! The configuration of the demo and its impact table.

use std::net::SocketAddr;

use membrana_world::{Mail, PAGE, US};

use super::World;

/// The impact table.
pub(super) const TABLE: &str = r#"# The impact table of the demo: the first row that matches decides.
version = "2026-11"

[[row]]
name = "complaint"
when = { intent = ["complaint"], sentiment = { max = -0.2 } }
responsible = "support"
consulted = ["logistics"]
informed = ["marketing"]
within = "2h"
escalate = [{ after = "1h", to = "support-lead" }]
reply.mode = "draft"
reply.review = ["legal"]
reply.text.it = "Buongiorno {author}, ci dispiace: non doveva succedere. Un nostro collega se ne occupa oggi e le scriverà entro stasera. Mandi il numero della bolletta o dell'ordine ad assistenza@acme.example, e mai in pubblico, perché apre il suo conto."
reply.text.en = "Hi {author}, we are sorry: this should not have happened, and you should not have had to ask twice. A colleague of ours looks into it today and writes to you by tonight. Please send the number of your bill or order to care@acme.example, and never post it in public, for it opens your account."

[[row]]
name = "praise in public"
when = { intent = ["praise", "thanks"], channel = ["acme-masto"] }
responsible = "marketing"
within = "1d"
reply = { mode = "send", text = { en = "Thank you, {author}! That made our day.", it = "Grazie, {author}!" } }

[[row]]
name = "mail from a customer"
when = { kind = ["mail"] }
responsible = "support"
within = "4h"
reply = { mode = "send", text = { it = "Ciao {author}, abbiamo aperto una pratica. Risponde una persona.", en = "Hi {author}, we opened a case. A person will answer." } }

[[row]]
name = "question in public"
when = { intent = ["question", "request"], visibility = ["public"] }
responsible = "marketing"
within = "1d"
reply = { mode = "draft", review = ["marketing"], text = { en = "Hi {author}, whoever wants paper gets paper: write to us." } }

[[row]]
name = "check-in at the shop"
when = { kind = ["checkin"] }
responsible = "shops"
within = "1d"

[[row]]
name = "everything else"
"#;

/// The analyzer that goes mad, in a section of its own.
pub(super) const MAD: &str = "\n[[analyzer]]\nname = \"mood\"\nplugin = \"mad.wasm\"\n";

const TEAMS: &str = r#"[[team]]
name = "support"
[[team]]
name = "support-lead"
[[team]]
name = "logistics"
[[team]]
name = "marketing"
[[team]]
name = "legal"
[[team]]
name = "shops"
"#;

/// `membrana.toml`.
pub(super) fn config(address: SocketAddr, world: &World) -> String {
    let World { masto, mail, blog, crm, .. } = world;
    format!(
        r#"# The configuration of the demo. `membrana --config demo-data/membrana.toml status` works while it runs.
[host]
listen = "{address}"
ca_files = ["ca.pem"]

{networks}[[channel]]
name = "acme-masto"
plugin = "mastodon"
poll = "1s"
config = {{ base_url = "{masto}" }}
secrets = {{ token = {{ file = "password" }} }}
grant = {{ http = ["{masto}"] }}

[[channel]]
name = "support-mail"
plugin = "mail"
poll = "1s"
config = {{ imap = "{imap}", imap_tls = "implicit", smtp = "{smtp}", smtp_tls = "starttls", user = "{user}", from = "Acme <{from}>", sent_mailbox = "Sent", first_fetch = "import" }}
secrets = {{ password = {{ file = "password" }} }}
grant = {{ net = ["{imap}", "{smtp}"] }}

[[channel]]
name = "blog"
plugin = "feed"
poll = "1s"
config = {{ urls = ["{blog}/feed/"] }}
grant = {{ http = ["{blog}"] }}

[[channel]]
name = "shop"
plugin = "touchpoint"
config = {{ kind = "checkin", id = "/order/id", text = "/note", author_id = "/customer/id", author_name = "/customer/name" }}
ingress = {{ verify = "standard-webhooks" }}
secrets = {{ webhook = {{ file = "secret" }} }}

[[analyzer]]
name = "language"
plugin = "language"

[[analyzer]]
name = "sentiment"
plugin = "sentiment"
after = ["language"]

[[analyzer]]
name = "intent"
plugin = "intent"
after = ["language", "sentiment"]

[[rule]]
name = "impact"
plugin = "impact-table"
config = {{ table_file = "impact.toml" }}

{TEAMS}
[[sink]]
name = "crm"
url = "{crm}"
secret = {{ file = "secret" }}
"#,
        networks = networks(world),
        masto = masto.url(),
        imap = mail.imap,
        smtp = mail.smtp,
        user = Mail::USER,
        from = Mail::ADDRESS,
        blog = blog.url(),
        crm = crm.url(),
    )
}

/// The channels of the large networks.
fn networks(world: &World) -> String {
    let (x, meta, forum) = (world.x.url(), world.meta.url(), world.forum.url());
    format!(
        r#"[[channel]]
name = "acme-x"
plugin = "x"
poll = "5s"
config = {{ base_url = "{x}", query = "acme -is:retweet" }}
secrets = {{ app_token = {{ file = "password" }}, user_token = {{ file = "password" }} }}
grant = {{ http = ["{x}"] }}

# Meta tells by webhooks; the poll is for what they leave out.
[[channel]]
name = "acme-page"
plugin = "facebook"
poll = "1h"
config = {{ base_url = "{meta}", page = "{PAGE}" }}
ingress = {{ verify = "meta" }}
secrets = {{ page_token = {{ file = "password" }}, app_secret = {{ file = "secret" }}, verify_token = {{ file = "password" }} }}
grant = {{ http = ["{meta}"] }}

[[channel]]
name = "acme-forum"
plugin = "discourse"
poll = "5s"
config = {{ base_url = "{forum}", username = "{US}" }}
secrets = {{ api_key = {{ file = "password" }} }}
grant = {{ http = ["{forum}"] }}

"#
    )
}
