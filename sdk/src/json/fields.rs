//! Fields of what networks send, read into structs without a tree of everything else. Reading one never fails on what stands in it:
//! what is of another kind than a connector asks for is absent to it, and costs nothing but itself.
//!
//! A struct of these has `#[derive(Deserialize, Default)]` and `#[serde(default)]`.

use core::fmt;
use core::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// A field that is a text, a number or a flag, as far as it was sent so.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Field {
    /// Missing, or null.
    #[default]
    Absent,
    /// `true` or `false`.
    Flag(bool),
    /// Any number.
    Number(Number),
    /// A text.
    Text(String),
    /// A list or an object.
    Other,
}

impl Field {
    /// The text; none where it is none, or an empty one.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text.as_str()).filter(|text| !text.is_empty()) } else { None }
    }

    /// As [`Field::text`].
    pub fn into_text(self) -> Option<String> {
        if let Self::Text(text) = self { Some(text).filter(|text| !text.is_empty()) } else { None }
    }

    /// The number, where it is whole and not negative.
    pub fn whole(&self) -> Option<u64> {
        if let Self::Number(number) = self { number.as_u64() } else { None }
    }

    /// The number.
    pub fn number(&self) -> Option<f64> {
        if let Self::Number(number) = self { number.as_f64() } else { None }
    }

    /// Whether it is `true`.
    pub fn flag(&self) -> bool {
        *self == Self::Flag(true)
    }

    /// Whether there is anything.
    pub fn is_set(&self) -> bool {
        *self != Self::Absent
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData))
    }
}

/// An object; none where something else stands there.
#[derive(Debug, Clone, PartialEq)]
pub struct Object<T>(pub Option<T>);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData))
    }
}

/// A list; none where something else stands there.
#[derive(Debug, Clone, PartialEq)]
pub struct List<T>(pub Option<Vec<T>>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData))
    }
}

/// What a value becomes; by default nothing, whatever it is.
trait Lenient<'de>: Default {
    fn of_flag(_flag: bool) -> Self {
        Self::default()
    }

    fn of_number(_number: Number) -> Self {
        Self::default()
    }

    fn of_text(_text: &str) -> Self {
        Self::default()
    }

    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    fn of_object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

impl<'de> Lenient<'de> for Field {
    fn of_flag(flag: bool) -> Self {
        Self::Flag(flag)
    }

    fn of_number(number: Number) -> Self {
        Self::Number(number)
    }

    fn of_text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        List::<IgnoredAny>::of_list(list).map(|_| Self::Other)
    }

    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        List::<IgnoredAny>::of_object(object).map(|_| Self::Other)
    }
}

impl<'de, T: Deserialize<'de>> Lenient<'de> for Object<T> {
    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(|object| Self(Some(object)))
    }
}

impl<'de, T: Deserialize<'de>> Lenient<'de> for List<T> {
    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        Ok(Self(Some(all)))
    }
}

struct Any<L>(PhantomData<L>);

impl<'de, L: Lenient<'de>> Visitor<'de> for Any<L> {
    type Value = L;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<L, E> {
        Ok(L::default())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<L, E> {
        Ok(L::of_flag(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<L, E> {
        Ok(L::of_number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<L, E> {
        Ok(L::of_number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<L, E> {
        Ok(Number::from_f64(number).map(L::of_number).unwrap_or_default())
    }

    fn visit_str<E>(self, text: &str) -> Result<L, E> {
        Ok(L::of_text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<L, A::Error> {
        L::of_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<L, A::Error> {
        L::of_object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Post {
        id: Field,
        text: Field,
        is_new: Field,
        by: Object<Author>,
        files: List<Object<Author>>,
    }

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Author {
        name: Field,
    }

    fn post(json: &str) -> Post {
        read::<Object<Post>>(json.as_bytes()).unwrap().0.unwrap()
    }

    #[test]
    fn what_is_of_another_kind_is_absent_and_costs_nothing_else() {
        let good = post(r#"{"id":7,"text":"a\u0062","is_new":true,"by":{"name":"Ada","age":[1,{}]},"files":[{"name":"x"}],"more":{"deep":[null]}}"#);
        assert_eq!((good.id.whole(), good.text.text(), good.is_new.flag()), (Some(7), Some("ab"), true));
        assert_eq!((good.by.0.unwrap().name.into_text().as_deref(), good.files.0.unwrap().len()), (Some("Ada"), 1));
        for odd in ["null", "[1,[2]]", "{\"name\":{}}", "\"\"", "-1.5", "false", "1e999"] {
            if let Ok(odd) = read::<Object<Post>>(format!(r#"{{"id":{odd},"text":{odd},"is_new":{odd},"by":{odd},"files":{odd}}}"#).as_bytes()) {
                let odd = odd.0.unwrap();
                assert_eq!((odd.id.whole(), odd.text.text(), odd.is_new.flag()), (None, None, false));
                assert!(odd.by.0.is_none_or(|by| by.name.text().is_none()) && odd.files.0.iter().flatten().all(|file| file.0.is_none()));
            }
        }
        assert_eq!(post(r#"{"id":-3}"#).id.number(), Some(-3.0));
        assert_eq!((post("{}"), post(r#"{"id":null}"#).id.is_set(), post(r#"{"id":[]}"#).id.is_set()), (Post::default(), false, true));
    }

    #[test]
    fn things_that_are_no_objects_stand_in_their_places() {
        let all = read::<List<Object<Post>>>(br#"[1,{"id":1},null,[2],"3"]"#).unwrap().0.unwrap();
        assert_eq!(all.iter().map(|post| post.0.is_some()).collect::<Vec<_>>(), [false, true, false, false, false]);
        assert_eq!(read::<List<Object<Post>>>(br#"{"a":1}"#).unwrap().0, None);
    }

    #[test]
    fn of_a_key_that_stands_twice_the_last_counts() {
        assert_eq!(post(r#"{"id":1,"text":"a","id":2}"#).id.whole(), Some(2));
        assert_eq!(post(r#"{"id":1,"text":"a\ud800","id":2}"#).text.text(), Some("a\u{fffd}"));
    }
}
