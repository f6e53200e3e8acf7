//! Enums that are names in configuration, commands, paths and columns.

/// Makes an enum of names with `ALL`, `as_str`, `FromStr` and `Display`: its type, what a person calls such a name, and
/// the error for any other name, which has `new(what, name, known names)`.
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, $error:ty { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every one, in the order they are documented in.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The name, as it is written everywhere.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().copied().find(|v| v.as_str() == word);
                found.ok_or_else(|| <$error>::new($what, word, Self::ALL.iter().map(|v| v.as_str())))
            }
        }
    };
}
