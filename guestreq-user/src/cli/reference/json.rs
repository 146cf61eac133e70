//! # Generates the reference of JSON answers

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use guestreq_common::{
    message::MessageType,
    policy::{Backend, Mode},
};
use syn::{GenericArgument, PathArguments, Type};

use super::{
    escape,
    types::{Described, Field, Shape, Types},
};

/// Every type that a verb prints, and the types of its fields.
pub fn reference(types: &Types) -> String {
    let mut text = String::from(
        "\n## JSON\n\nTimes are in seconds, shares from 0 to 1. Fields are always present unless \
         marked `may be absent`; `null` means unknown or not applicable.\n",
    );
    let mut done = BTreeMap::new();
    let mut undocumented = Vec::new();
    for root in types.roots() {
        describe(root, types, &mut done, &mut text, &mut undocumented);
    }
    assert!(
        undocumented.is_empty(),
        "fields without a comment, add one to each: {undocumented:#?}"
    );
    text
}

fn describe(
    ty: &Described,
    types: &Types,
    done: &mut BTreeMap<String, PathBuf>,
    text: &mut String,
    undocumented: &mut Vec<String>,
) {
    if let Some(file) = done.insert(ty.name.clone(), ty.file.clone()) {
        assert_eq!(file, ty.file, "two JSON types are named {}: rename one", ty.name);
        return;
    }
    write!(text, "\n### {}\n\n{}\n", ty.name, escape(&ty.doc)).unwrap();
    let mut fields: Vec<&Field> = Vec::new();
    match &ty.shape {
        Shape::Fields(all) => {
            text.push_str("\n| field | type | meaning |\n|---|---|---|\n");
            rows(ty, all, types, text, undocumented);
            fields.extend(all);
        }
        Shape::Variants(variants) => {
            text.push_str("\n| one of | with |\n|---|---|\n");
            for (name, doc, all) in variants {
                let with: Vec<_> =
                    all.iter().map(|field| in_a_variant(field, types, &ty.file)).collect();
                let doc = [escape(doc), with.join("; ")].join(" ");
                writeln!(text, "| `{name}` | {} |", doc.trim()).unwrap();
                fields.extend(all);
            }
        }
        Shape::Custom | Shape::Alias(_) => {}
    }
    for field in fields {
        for name in names(&field.ty) {
            if let Some(inner) = types.find(&name, &ty.file) {
                let is_inlined = matches!(inner.shape, Shape::Alias(_)) || inner.names().is_some();
                if !is_inlined && name != "Named" {
                    describe(inner, types, done, text, undocumented);
                }
            }
        }
    }
}

fn rows(
    ty: &Described,
    fields: &[Field],
    types: &Types,
    text: &mut String,
    undocumented: &mut Vec<String>,
) {
    for field in fields {
        let type_text = type_name(&field.ty, types, &ty.file);
        if field.flat {
            writeln!(text, "| | | the fields of {type_text} |").unwrap();
            continue;
        }
        // Links and lists of names need no comment.
        if field.doc.is_empty() && !type_text.contains(['[', '`']) {
            undocumented.push(format!("{}: {}::{}", ty.file.display(), ty.name, field.name));
        }
        let type_text = if field.may_be_absent {
            format!("{}; may be absent", type_text.trim_end_matches(" or null"))
        } else {
            type_text
        };
        let doc = escape(&field.doc);
        writeln!(text, "| `{}` | {type_text} | {doc} |", field.name).unwrap();
    }
}

fn in_a_variant(field: &Field, types: &Types, from: &Path) -> String {
    let type_text = type_name(&field.ty, types, from);
    let type_text = if field.may_be_absent {
        type_text.replace(" or null", ", may be absent")
    } else {
        type_text
    };
    match (field.flat, field.doc.is_empty()) {
        (true, _) => format!("the fields of {type_text}"),
        (false, true) if field.name.is_empty() => type_text,
        (false, true) => format!("`{}`: {type_text}", field.name),
        (false, false) => {
            format!("`{}`: {type_text}: {}", field.name, escape(field.doc.trim_end_matches('.')))
        }
    }
}

/// All type names in a type.
fn names(ty: &Type) -> Vec<String> {
    let Some((name, arguments)) = split(ty) else { return Vec::new() };
    let inner = arguments.iter().flat_map(|argument| names(argument));
    std::iter::once(name).chain(inner).collect()
}

fn split(ty: &Type) -> Option<(String, Vec<&Type>)> {
    let path = match ty {
        Type::Path(ty) => &ty.path,
        Type::Reference(ty) => return split(&ty.elem),
        _ => return None,
    };
    let last = path.segments.last()?;
    let arguments = match &last.arguments {
        PathArguments::AngleBracketed(list) => {
            let types = list.args.iter().filter_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            });
            types.collect()
        }
        _ => Vec::new(),
    };
    Some((last.ident.to_string(), arguments))
}

/// A type in words.
fn type_name(ty: &Type, types: &Types, from: &Path) -> String {
    let Some((name, arguments)) = split(ty) else { return "value".to_owned() };
    let inner =
        |at: usize| arguments.get(at).map_or("value".to_owned(), |ty| type_name(ty, types, from));
    match name.as_str() {
        "String" | "str" | "Cow" | "PathBuf" | "Rate" => "string".to_owned(),
        "bool" => "true or false".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" | "f64" => "number".to_owned(),
        "Option" => format!("{} or null", inner(0)),
        "Vec" => match inner(0).as_str() {
            plain @ ("number" | "string") => format!("list of {plain}s"),
            other => format!("list of {other}"),
        },
        "Box" => inner(0),
        "BTreeMap" | "HashMap" => format!("object: name to {}", inner(1)),
        "Named" => named(arguments.first().copied()),
        _ => match types.find(&name, from) {
            Some(Described { shape: Shape::Alias(ty), file, .. }) => type_name(ty, types, file),
            Some(found) if found.names().is_some() => found.names().unwrap_or_default().join(", "),
            Some(_) => {
                let link = format!("[{name}](#{})", name.to_lowercase());
                if arguments.is_empty() { link } else { format!("{link} of {}", inner(0)) }
            }
            // A type parameter.
            None if name.len() == 1 => "value".to_owned(),
            None => panic!("{}: what is a {name} in JSON?", from.display()),
        },
    }
}

fn named(ty: Option<&Type>) -> String {
    let name = ty.and_then(split).map(|(name, _)| name).unwrap_or_default();
    let names: Vec<&str> = match name.as_str() {
        "Mode" => Mode::ALL.iter().map(|mode| mode.name()).collect(),
        "Backend" => Backend::ALL.iter().map(|backend| backend.name()).collect(),
        "MessageType" => MessageType::ALL.iter().map(|kind| kind.name()).collect(),
        // A type parameter.
        _ => return "string".to_owned(),
    };
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
