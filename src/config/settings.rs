//! A configuration key is defined once, by [`settings!`](crate::config::settings): name, type, default, help, check.
//!
//! From the definition come the field of the settings, the key of the file, the flag, the `RPINGMESH_…` variable, the line of
//! `print-config` and the check. Tests write the sample file, the reference of the options and the keys of the NixOS module
//! from it. Defaults are applied first, then the file, the variables and the flags, each over what was before.

mod value;

use std::fmt::Write as _;
use std::marker::PhantomData;
use std::path::Path;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ConfigError;

pub(crate) use value::scalars;
pub use value::{
    Check, Field, Kind, Scalar, at_least, between, hours, millis, mins, rate_up_to, secs, that,
};

/// What is known of a key, whatever its type.
#[derive(Debug, Clone)]
pub struct About {
    /// As written in TOML: `path_trace.interval`.
    pub path: String,
    /// What its section is about.
    pub section: String,
    /// What it is for, in a sentence; what happens without it where it has no default.
    pub help: String,
    /// Further paragraphs of its doc comment, for the sample file.
    pub notes: Vec<String>,
    /// What its values are.
    pub kind: Kind,
    /// The values of a choice.
    pub choices: Vec<String>,
    /// Whether it is a list.
    pub many: bool,
    /// The least value, where it is checked.
    pub least: Option<String>,
    /// The greatest value, where it is checked.
    pub most: Option<String>,
    /// What the sample file shows where there is no default.
    pub example: Option<toml::Value>,
    /// Whether the sample file sets it, because the program does not run without it.
    pub needed: bool,
    argument: Arg,
}

impl About {
    fn new<S: Settings, F: Field>(name: &str, doc: &[&str], parser: ValueParser) -> Self {
        let names: Vec<String> = parser
            .possible_values()
            .map(|values| values.map(|value| value.get_name().to_owned()).collect())
            .unwrap_or_default();
        let is_switch = F::Item::KIND == Kind::Bool;
        let path = match S::SECTION {
            "" => name.to_owned(),
            section => format!("{section}.{name}"),
        };
        let argument = Arg::new(path.clone())
            .long(path.replace(['.', '_'], "-"))
            .env(variable(&path))
            .value_name(if is_switch {
                "BOOL".to_owned()
            } else {
                name.to_uppercase()
            })
            .value_parser(parser);
        let argument = match (F::MANY, is_switch) {
            (true, _) => argument.action(ArgAction::Append).value_delimiter(','),
            (false, true) => argument.num_args(0..=1).default_missing_value("true"),
            (false, false) => argument,
        };
        let mut texts = paragraphs(doc);
        Self {
            path,
            section: paragraphs(S::ABOUT).collect::<Vec<_>>().join(" "),
            help: texts.next().unwrap_or_default(),
            notes: texts.collect(),
            kind: F::Item::KIND,
            choices: if is_switch { Vec::new() } else { names },
            many: F::MANY,
            least: None,
            most: None,
            example: None,
            needed: false,
            argument,
        }
    }

    /// The default in a table of all defaults.
    pub fn default_in<'a>(&self, defaults: &'a toml::Table) -> Option<&'a toml::Value> {
        let mut parts = self.path.split('.');
        let first = defaults.get(parts.next()?);
        parts.fold(first, |value, part| value?.get(part))
    }

    /// The flag; its help states the default.
    fn argument(&self, defaults: &toml::Table) -> Arg {
        let mut help = self.help.clone();
        // Where the comment states what happens without the key, a default would be a repetition.
        if !help.contains("[default: ")
            && let Some(default) = self.default_in(defaults)
        {
            let _ = write!(help, " [default: {}]", plain(default));
        }
        self.argument.clone().help(help)
    }
}

/// The paragraphs of a doc comment, each in one line.
fn paragraphs<'a>(doc: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
    doc.split(|line| line.trim().is_empty()).map(|lines| {
        let lines: Vec<_> = lines.iter().map(|line| line.trim()).collect();
        lines.join(" ")
    })
}

/// A value as a flag takes it.
fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// `path_trace.mode`: `RPINGMESH_PATH_TRACE_MODE`.
fn variable(name: &str) -> String {
    format!("RPINGMESH_{}", name.replace(['.', '-'], "_").to_uppercase())
}

/// A key while it is defined.
pub struct Definition<S, F: Field> {
    about: About,
    get: fn(&S) -> &F,
    get_mut: fn(&mut S) -> &mut F,
    check: Option<Check<F::Item>>,
}

impl<S: Settings, F: Field> Definition<S, F> {
    /// A key by its name, its doc comment, its place in the settings, and what reads its values.
    pub fn new(
        name: &str,
        doc: &[&str],
        get: fn(&S) -> &F,
        get_mut: fn(&mut S) -> &mut F,
        parser: impl Into<ValueParser>,
    ) -> Self {
        Self {
            about: About::new::<S, F>(name, doc, parser.into()),
            get,
            get_mut,
            check: None,
        }
    }

    /// What stands for a value in the help: `DURATION`.
    #[must_use]
    pub fn value(mut self, name: &'static str) -> Self {
        self.about.argument = self.about.argument.value_name(name);
        self
    }

    /// Another flag than the path says, and the variable that belongs to it.
    #[must_use]
    pub fn flag(mut self, name: &'static str) -> Self {
        self.about.argument = self.about.argument.long(name).env(variable(name));
        self
    }

    /// What separates several values of a flag or variable, instead of a comma.
    #[must_use]
    pub fn separator(mut self, separator: char) -> Self {
        self.about.argument = self.about.argument.value_delimiter(separator);
        self
    }

    /// What the sample file shows in place of a default.
    #[must_use]
    pub fn example(mut self, example: impl Into<toml::Value>) -> Self {
        self.about.example = Some(example.into());
        self
    }

    /// Like [`Self::example`], of a key that the program does not run without.
    #[must_use]
    pub fn needed(mut self, example: impl Into<toml::Value>) -> Self {
        self.about.needed = true;
        self.example(example)
    }

    /// What each value must fulfil beyond its type.
    #[must_use]
    pub fn check(mut self, check: Check<F::Item>) -> Self {
        self.about.least.clone_from(&check.least);
        self.about.most.clone_from(&check.most);
        self.check = Some(check);
        self
    }
}

type Take<S> = Box<dyn Fn(&mut S, &ArgMatches)>;
type Test<S> = Box<dyn Fn(&S) -> Result<(), ConfigError>>;

/// A key of settings `S`.
pub struct Key<S> {
    /// What is known of it.
    pub about: About,
    /// Takes its value over from flags and variables, if they have one.
    take: Take<S>,
    /// Checks its value.
    test: Test<S>,
}

impl<S: 'static, F: Field + 'static> From<Definition<S, F>> for Key<S> {
    fn from(definition: Definition<S, F>) -> Self {
        let Definition {
            about,
            get,
            get_mut,
            check,
        } = definition;
        let (key, path) = (about.path.clone(), about.path.clone());
        Self {
            about,
            take: Box::new(move |settings, matches| {
                if let Some(given) = matches.get_many::<F::Item>(&key) {
                    get_mut(settings).set(given.cloned());
                }
            }),
            test: Box::new(move |settings| {
                let check = check.iter();
                let mut both = check
                    .flat_map(|check| get(settings).items().iter().map(|item| (check.test)(item)));
                both.try_for_each(|tested| {
                    tested.map_err(|why| ConfigError::value(path.clone(), why))
                })
            }),
        }
    }
}

impl<S: 'static> Key<S> {
    /// The same key seen from the settings that have `S` as a section.
    pub fn of_section<P: 'static>(
        self,
        get: fn(&P) -> &S,
        get_mut: fn(&mut P) -> &mut S,
    ) -> Key<P> {
        let (take, test) = (self.take, self.test);
        Key {
            about: self.about,
            take: Box::new(move |settings, matches| take(get_mut(settings), matches)),
            test: Box::new(move |settings| test(get(settings))),
        }
    }
}

/// The keys of a program or of a section.
pub trait Settings: Clone + Default + Serialize + DeserializeOwned + 'static {
    /// The section's name; empty outside of sections.
    const SECTION: &'static str;
    /// The doc comment, for the sample file.
    const ABOUT: &'static [&'static str];

    /// All keys, those of sections after those outside.
    fn keys() -> Vec<Key<Self>>;

    /// Checks each value by itself.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for the first value that cannot be used.
    fn check(&self) -> Result<(), ConfigError> {
        Self::keys().iter().try_for_each(|key| (key.test)(self))
    }
}

/// The settings that a file has; the defaults of the rest.
///
/// # Errors
/// [`ConfigError::Read`], [`ConfigError::Parse`].
pub fn read<S: Settings>(path: &Path) -> Result<S, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let fail = |error: toml::de::Error| ConfigError::Parse {
        path: path.to_owned(),
        message: with_nearest_key(error.to_string()),
    };
    // By itself first: these errors name line and column.
    toml::from_str::<S>(&text).map_err(fail)?;
    let mut table = toml::Table::try_from(S::default()).unwrap_or_default();
    merge(&mut table, toml::from_str(&text).map_err(fail)?);
    table.try_into().map_err(fail)
}

/// Puts the values of one table over those of another, section by section.
fn merge(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(section)), toml::Value::Table(over)) => merge(section, over),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// Adds to the message about an unknown key the key that looks most like it, if one does.
fn with_nearest_key(message: String) -> String {
    let nearest = message
        .split_once("unknown field `")
        .and_then(|(_, rest)| rest.split_once('`'))
        .and_then(|(unknown, expected)| {
            let limit = (unknown.len() / 3).max(1);
            // Between the backticks are the keys that may be there.
            let keys = expected.split('`').skip(1).step_by(2);
            keys.map(|key| (strsim::damerau_levenshtein(unknown, key), key))
                .filter(|(distance, _)| *distance <= limit)
                .min()
        });
    match nearest {
        Some((_, key)) => format!("{}\ndid you mean `{key}`?", message.trim_end()),
        None => message,
    }
}

/// What flags and variables give of settings `S`: `#[command(flatten)]` it.
#[derive(Debug, Clone)]
pub struct Given<S> {
    matches: ArgMatches,
    settings: PhantomData<fn() -> S>,
}

impl<S: Settings> Given<S> {
    /// The defaults, over them the file if one is named, over it what was given.
    ///
    /// # Errors
    /// [`ConfigError::Read`], [`ConfigError::Parse`].
    pub fn over(&self, file: Option<&Path>) -> Result<S, ConfigError> {
        let mut settings = file.map_or_else(|| Ok(S::default()), read)?;
        for key in S::keys() {
            (key.take)(&mut settings, &self.matches);
        }
        Ok(settings)
    }
}

impl<S: Settings> Args for Given<S> {
    fn augment_args(command: Command) -> Command {
        let defaults = toml::Table::try_from(S::default()).unwrap_or_default();
        // The paths of keys begin with the section, if these are the settings of one.
        let section = S::SECTION.split('.').filter(|part| !part.is_empty());
        let defaults = section.rev().fold(defaults, |inner, part| {
            toml::Table::from_iter([(part.to_owned(), toml::Value::Table(inner))])
        });
        command.args(S::keys().iter().map(|key| key.about.argument(&defaults)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Settings> FromArgMatches for Given<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            matches: matches.clone(),
            settings: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.matches = matches.clone();
        Ok(())
    }
}

/// Defines the keys of a program or, with `in "section"`, of a section:
///
/// ```ignore
/// settings! {
///     /// The agent's settings
///     AgentSettings {
///         /// How long a probe waits for its ACKs, 1ms to 60s
///         probe_timeout: HumanDuration = millis(500), value("DURATION"), check(between(millis(1), secs(60)));
///         /// Address of GET /metrics [default: none, no metrics]
///         metrics: Option<SocketAddr>, value("ADDR"), example("127.0.0.1:9471");
///         [tls]: TlsSettings;
///     }
/// }
/// ```
///
/// What follows a key are methods of [`Definition`].
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $name:ident $(in $section:literal)? {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $type:ty $(= $default:expr)? $(, $option:ident($($value:expr),*))*;
            )*
            $([$part:ident]: $keys:ty $(= $given:expr)?;)*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                #[serde(skip_serializing_if = "crate::config::settings::Field::is_absent")]
                pub $key: $type,
            )*
            $(
                #[doc = concat!("Section `[", stringify!($part), "]`.")]
                pub $part: $keys,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($key: $crate::config::settings::settings!(@or_default $($default)?),)*
                    $($part: $crate::config::settings::settings!(@or_default $($given)?),)*
                }
            }
        }

        impl $crate::config::settings::Settings for $name {
            const SECTION: &'static str = concat!($($section)?);
            const ABOUT: &'static [&'static str] = &[$($about),+];

            fn keys() -> Vec<$crate::config::settings::Key<Self>> {
                use $crate::config::settings::{Definition, Field, Key};
                #[allow(unused_mut, reason = "not all have sections")]
                let mut keys: Vec<Key<Self>> = vec![$(
                    Definition::<Self, $type>::new(
                        stringify!($key),
                        &[$($doc),+],
                        |settings| &settings.$key,
                        |settings| &mut settings.$key,
                        clap::value_parser!(<$type as Field>::Item),
                    )
                    $(.$option($($value),*))*
                    .into(),
                )*];
                $(
                    keys.extend(<$keys as $crate::config::settings::Settings>::keys().into_iter().map(|key| {
                        key.of_section(|settings: &Self| &settings.$part, |settings| &mut settings.$part)
                    }));
                )*
                keys
            }
        }
    };
    (@or_default) => { ::std::default::Default::default() };
    (@or_default $value:expr) => { $value };
}
pub(crate) use settings;
