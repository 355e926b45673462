//! Values that are written as text.

/// Conversions from and to a text, for serde, by the type's `FromStr` and `Display`.
macro_rules! text_forms {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}
pub(crate) use text_forms;
