//! Structs whose documentation and defaults are data as well: the one source of the types, of their defaults, and of the
//! comments in a generated configuration file.

/// What the doc comments of a struct's fields say: name and lines, in the order of the declaration.
pub(super) type Keys = &'static [(&'static str, &'static [&'static str])];

/// A struct whose fields are keys of the configuration.
pub(super) trait Documented {
    /// Its keys.
    const KEYS: Keys;
}

/// A field's name as the key that it is: `r#` only tells the compiler that it is not the keyword.
pub(super) const fn plain(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Declares a section of the configuration: a struct whose fields have documentation and a default.
macro_rules! documented {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ pub $field:ident: $type:ty = $default:expr, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $crate::config::documented::Documented for $name {
            const KEYS: $crate::config::documented::Keys = &[$( ($crate::config::documented::plain(stringify!($field)), &[$($doc),+]), )+];
        }
    };
}
