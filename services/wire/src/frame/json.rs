//! What frames are read with: strings where they lie, names from a list, objects and nothing that passes for one.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A string where it lies, unless it has escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// What has a few values, each with its name.
pub(super) trait Named: Sized {
    fn of(name: &str) -> Option<Self>;
}

/// `None` for a name that there isn't: whoever reads it further says which there are.
pub(super) fn named<'de, T: Named, D: Deserializer<'de>>(reader: D) -> Result<Option<T>, D::Error> {
    Text::deserialize(reader).map(|Text(name)| T::of(&name))
}

pub(super) fn named_or_null<'de, T: Named, D: Deserializer<'de>>(
    reader: D,
) -> Result<Option<Option<T>>, D::Error> {
    Ok(Option::<Text<'de>>::deserialize(reader)?.map(|Text(name)| T::of(&name)))
}

/// Derived deserializers take an array for a struct, its fields in their order; the contract knows objects only.
pub(super) fn is_object(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{')
}

/// An object within a frame.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Map<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Map<T> {
            type Value = T;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        reader.deserialize_map(Map(PhantomData)).map(Self)
    }
}
