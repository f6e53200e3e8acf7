//! What is wrong with a configuration: the key, where its value came from, what is wrong, what would pass.

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `section.key`.
    pub key: String,
    /// Where the value came from.
    pub origin: String,
    /// What is wrong.
    pub what: String,
    /// What would pass.
    pub fix: String,
}

/// Everything that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl std::error::Error for ConfigErrors {}

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, p) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}: {}\n  where: {}\n  fix:   {}", p.key, p.what, p.origin, p.fix)?;
        }
        Ok(())
    }
}
