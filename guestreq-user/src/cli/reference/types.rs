//! # Reads JSON types from the sources
//!
//! Each field's name as serde writes it, its type and its comment.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Expr, Fields, Item, Lit, Meta, Type};

/// A type that is written as JSON.
pub struct Described {
    pub name: String,
    pub doc: String,
    pub shape: Shape,
    /// Source file: of two types with the same name, the nearer one is meant.
    pub file: PathBuf,
}

pub enum Shape {
    Fields(Vec<Field>),
    /// Name, comment and fields of each.
    Variants(Vec<(String, String, Vec<Field>)>),
    /// Implements `Serialize` itself; described by its comment.
    Custom,
    /// Another name for a type.
    Alias(Box<Type>),
}

pub struct Field {
    pub name: String,
    pub doc: String,
    pub ty: Type,
    pub flat: bool,
    pub may_be_absent: bool,
}

impl Described {
    /// The variants' names if none has fields.
    pub fn names(&self) -> Option<Vec<String>> {
        let Shape::Variants(variants) = &self.shape else { return None };
        let plain = variants.iter().all(|(_, _, fields)| fields.is_empty());
        plain.then(|| variants.iter().map(|(name, ..)| format!("`{name}`")).collect())
    }
}

pub struct Types(BTreeMap<String, Vec<Described>>);

impl Types {
    pub fn read() -> Types {
        let mut types = Types(BTreeMap::new());
        types.read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        types
    }

    fn read_folder(&mut self, folder: &Path) {
        let mut paths: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                self.read_folder(&path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
                let found: Vec<_> =
                    file.items.iter().filter_map(|item| describe(item, &path)).collect();
                let own: Vec<_> = file.items.iter().filter_map(custom_serialize).collect();
                for described in found {
                    let derives = !matches!(described.shape, Shape::Custom);
                    if derives || own.contains(&described.name) {
                        self.0.entry(described.name.clone()).or_default().push(described);
                    }
                }
            }
        }
    }

    /// Resolves a type's name in a file.
    pub fn find(&self, name: &str, from: &Path) -> Option<&Described> {
        let all = self.0.get(name)?;
        let near = |folder: Option<&Path>| all.iter().find(|ty| ty.file.parent() == folder);
        let same = all.iter().find(|ty| ty.file == from);
        same.or_else(|| near(from.parent())).or_else(|| all.first())
    }

    /// The type that a verb prints, according to its comment.
    pub fn printed_by(&self, verb: &str) -> Option<&str> {
        let marker = format!("`{verb} -o json`");
        let mut all = self.roots().into_iter().filter(|ty| ty.doc.contains(&marker));
        let one = all.next()?;
        assert!(all.next().is_none(), "two types' comments contain {marker}");
        Some(&one.name)
    }

    /// All types that verbs print.
    pub fn roots(&self) -> Vec<&Described> {
        self.0.values().flatten().filter(|ty| ty.doc.contains(" -o json`")).collect()
    }
}

fn describe(item: &Item, file: &Path) -> Option<Described> {
    let (ident, attrs, shape) = match item {
        Item::Struct(item) => {
            let shape = match &item.fields {
                _ if !derives_serialize(&item.attrs) => Shape::Custom,
                // A newtype.
                Fields::Unnamed(all) if all.unnamed.len() == 1 => {
                    Shape::Alias(Box::new(all.unnamed[0].ty.clone()))
                }
                all => Shape::Fields(fields(all)),
            };
            (&item.ident, &item.attrs, shape)
        }
        Item::Enum(item) => {
            let case = serde_value(&item.attrs, "rename_all");
            let tag = serde_value(&item.attrs, "tag");
            let variants = item.variants.iter().map(|variant| {
                let name = cased(&variant.ident.to_string(), case.as_deref());
                let name = tag.as_ref().map_or(name.clone(), |tag| format!("{tag}: {name}"));
                (name, doc(&variant.attrs), fields(&variant.fields))
            });
            let shape = if derives_serialize(&item.attrs) {
                Shape::Variants(variants.collect())
            } else {
                Shape::Custom
            };
            (&item.ident, &item.attrs, shape)
        }
        Item::Type(item) => (&item.ident, &item.attrs, Shape::Alias(item.ty.clone())),
        _ => return None,
    };
    let (name, doc) = (ident.to_string(), doc(attrs));
    Some(Described { name, doc, shape, file: file.to_owned() })
}

/// The type of an `impl Serialize for`.
fn custom_serialize(item: &Item) -> Option<String> {
    let Item::Impl(item) = item else { return None };
    let (of, _) = item.trait_.as_ref()?;
    let Type::Path(ty) = &*item.self_ty else { return None };
    let is = of.segments.last()?.ident == "Serialize";
    is.then(|| ty.path.segments.last().map(|last| last.ident.to_string()))?
}

fn fields(fields: &Fields) -> Vec<Field> {
    let shown = fields.iter().filter(|field| !has_serde_word(&field.attrs, "skip"));
    shown
        .map(|field| {
            let ident = field.ident.as_ref().map(|ident| ident.to_string());
            let name = serde_value(&field.attrs, "rename").or(ident).unwrap_or_default();
            let may_be_absent = serde_value(&field.attrs, "skip_serializing_if").is_some();
            let flat = has_serde_word(&field.attrs, "flatten");
            Field { name, doc: doc(&field.attrs), ty: field.ty.clone(), flat, may_be_absent }
        })
        .collect()
}

fn doc(attrs: &[Attribute]) -> String {
    let line = |attr: &Attribute| {
        let Meta::NameValue(meta) = &attr.meta else { return None };
        let Expr::Lit(value) = &meta.value else { return None };
        let Lit::Str(text) = &value.lit else { return None };
        meta.path.is_ident("doc").then(|| text.value().trim().to_owned())
    };
    attrs.iter().filter_map(line).collect::<Vec<_>>().join(" ")
}

/// The words in an attribute's parentheses.
fn words<'a>(attrs: &'a [Attribute], name: &'a str) -> impl Iterator<Item = String> + 'a {
    let of_attr = move |attr: &Attribute| match &attr.meta {
        Meta::List(list) if list.path.is_ident(name) => Some(list.tokens.to_string()),
        _ => None,
    };
    attrs
        .iter()
        .filter_map(of_attr)
        .flat_map(|tokens| tokens.split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>())
}

fn derives_serialize(attrs: &[Attribute]) -> bool {
    words(attrs, "derive").any(|word| word == "Serialize")
}

fn has_serde_word(attrs: &[Attribute], wanted: &str) -> bool {
    words(attrs, "serde").any(|word| word == wanted)
}

fn serde_value(attrs: &[Attribute], key: &str) -> Option<String> {
    words(attrs, "serde").find_map(|word| {
        let (found, value) = word.split_once('=')?;
        (found.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn cased(name: &str, case: Option<&str>) -> String {
    match case {
        Some("lowercase") => name.to_lowercase(),
        Some("snake_case") => name.chars().enumerate().fold(String::new(), |mut text, (at, c)| {
            if c.is_uppercase() && at > 0 {
                text.push('_');
            }
            text.extend(c.to_lowercase());
            text
        }),
        _ => name.to_owned(),
    }
}
