//! # All errors of configuration files
//!
//! For `policy check`; the agent stops at the first.

use std::{fmt, path::PathBuf};

use serde::Serialize;

use super::{Config, ConfigError, Layer, read_file};

/// An error in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wrong {
    /// Its path.
    pub file: String,
    /// Where, if it could be read.
    pub line: Option<usize>,
    /// Counted from 1.
    pub column: Option<usize>,
    /// What is wrong, and what is allowed.
    pub error: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wrong { file, line, column, error } = self;
        match (line, column) {
            (Some(line), Some(column)) => {
                write!(f, "{file}: line {line}, column {column}: {error}")
            }
            _ => write!(f, "{file}: {error}"),
        }
    }
}

pub struct Checked {
    /// The combined configuration, if each file can be read.
    pub config: Option<Config>,
    pub errors: Vec<Wrong>,
}

impl Config {
    /// Reads files as if they were the configuration, in this order.
    pub fn check(files: &[PathBuf]) -> Checked {
        let mut config = Config::default();
        let (mut texts, mut errors) = (Vec::new(), Vec::new());
        for path in files {
            let name = path.display().to_string();
            let wrong = |line, column, error| Wrong { file: name.clone(), line, column, error };
            let text = match read_file(path) {
                Ok(text) => text,
                Err(error) => {
                    errors.push(wrong(None, None, format!("{error:#}")));
                    continue;
                }
            };
            match Layer::parse(&name, &text) {
                Ok(layer) => config = config.with(layer),
                Err(faults) => {
                    errors.extend(faults.into_iter().map(|ConfigError { line, column, what }| {
                        wrong(Some(line), Some(column), what)
                    }))
                }
            }
            config.files.push(path.clone());
            texts.push((name, text));
        }
        if errors.is_empty() {
            errors.extend(config.contradiction(&texts));
        }
        Checked { config: errors.is_empty().then_some(config), errors }
    }
}
