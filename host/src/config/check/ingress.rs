//! `ingress` of a channel: the scheme by which its webhooks prove themselves, and what is not secret about it. Whether the plugin
//! can live with it and all secrets are there is seen where the plugin is known.

use toml::Spanned;
use toml::de::DeValue;

use crate::model::Scheme;

use super::super::Ingress;
use super::super::shape::{Table, nearest, what};
use super::Checker;

impl Checker<'_> {
    pub(super) fn ingress(&mut self, table: &mut Table<'_, '_>) -> Option<Ingress> {
        let value = table.value("ingress")?;
        let place = self.reading.lines.place(&value.span());
        let DeValue::Table(inner) = value.get_ref() else {
            self.reading.error(
                &value.span(),
                format!("`ingress` is {}", what(value.get_ref())),
                "write ingress = { verify = \"standard-webhooks\" }",
            );
            return Some(Ingress { is_whole: false, verify: None, field: None, topics: Vec::new(), place });
        };
        let mut inner = Table::new("ingress", inner, place.clone()).broken(table.is_broken());
        let is_written = inner.value("verify").is_some();
        let written = inner.text(&mut self.reading, "verify");
        let field = inner.text(&mut self.reading, "field").map(Spanned::into_inner);
        let topics = inner.texts(&mut self.reading, "topics").into_iter().map(Spanned::into_inner).collect();
        let is_broken = inner.is_broken();
        inner.finish(&mut self.reading);
        let place = written.as_ref().map_or(place, |written| self.reading.lines.place(&written.span()));
        let verify = written.and_then(|written| self.scheme(&written));
        Some(Ingress { is_whole: !is_broken && verify.is_some() == is_written, verify, field, topics, place })
    }

    fn scheme(&mut self, written: &Spanned<String>) -> Option<Scheme> {
        let scheme = Scheme::named(written.get_ref());
        if scheme == Some(Scheme::None) {
            let place = self.reading.lines.place(&written.span());
            self.reading.report.warning(
                place,
                "webhooks of this channel are believed without a signature",
                "use \"standard-webhooks\" where the sender can sign",
            );
        }
        if scheme.is_none() {
            let names = Scheme::ALL.map(Scheme::name);
            let cure = nearest(written.get_ref(), &names)
                .map_or_else(|| format!("schemes: {}", names.join(", ")), |near| format!("did you mean \"{near}\"?"));
            self.reading.error(&written.span(), format!("there is no scheme \"{}\"", written.get_ref()), cure);
        }
        scheme
    }
}
