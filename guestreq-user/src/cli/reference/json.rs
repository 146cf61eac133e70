//! # The fields of JSON answers

use std::{collections::BTreeSet, fmt::Write as _, path::Path};

use guestreq_common::{
    message::MessageType,
    policy::{Backend, Mode},
};
use syn::{GenericArgument, PathArguments, Type};

use super::{
    escape,
    types::{Described, Field, Shape, Types},
};

/// Every type that a verb prints, and those within.
pub fn reference(types: &Types) -> String {
    let mut text = String::from(
        "\n## JSON\n\nTimes are in seconds, shares from 0 to 1. A field that may be absent says so; \
         any other is always there. `null` stands for what is not known or not so.\n",
    );
    let mut done = BTreeSet::new();
    let mut nameless = Vec::new();
    for root in types.roots() {
        describe(root, types, &mut done, &mut text, &mut nameless);
    }
    assert!(nameless.is_empty(), "fields without a comment, add one to each: {nameless:#?}");
    text
}

fn describe(
    ty: &Described,
    types: &Types,
    done: &mut BTreeSet<String>,
    text: &mut String,
    silent: &mut Vec<String>,
) {
    if !done.insert(ty.name.clone()) {
        return;
    }
    write!(text, "\n### {}\n\n{}\n", ty.name, escape(&ty.doc)).unwrap();
    let mut fields: Vec<&Field> = Vec::new();
    match &ty.shape {
        Shape::Fields(all) => {
            text.push_str("\n| field | type | meaning |\n|---|---|---|\n");
            rows(ty, all, types, text, silent);
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
        Shape::Own | Shape::Alias(_) => {}
    }
    for field in fields {
        for name in names(&field.ty) {
            if let Some(inner) = types.find(&name, &ty.file) {
                let is_said = matches!(inner.shape, Shape::Alias(_)) || inner.names().is_some();
                if !is_said && name != "Named" {
                    describe(inner, types, done, text, silent);
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
    silent: &mut Vec<String>,
) {
    for field in fields {
        let said = said(&field.ty, types, &ty.file);
        if field.flat {
            writeln!(text, "| | | the fields of {said} |").unwrap();
            continue;
        }
        // A type that is described, or a list of names, speaks for itself.
        if field.doc.is_empty() && !said.contains(['[', '`']) {
            silent.push(format!("{}: {}::{}", ty.file.display(), ty.name, field.name));
        }
        let said = if field.may_be_absent {
            format!("{}; may be absent", said.trim_end_matches(" or null"))
        } else {
            said
        };
        let doc = escape(&field.doc);
        writeln!(text, "| `{}` | {said} | {doc} |", field.name).unwrap();
    }
}

fn in_a_variant(field: &Field, types: &Types, from: &Path) -> String {
    let said = said(&field.ty, types, from);
    let said = if field.may_be_absent { said.replace(" or null", ", may be absent") } else { said };
    match (field.flat, field.doc.is_empty()) {
        (true, _) => format!("the fields of {said}"),
        (false, true) => format!("`{}`: {said}", field.name),
        (false, false) => {
            format!("`{}`: {said}: {}", field.name, escape(field.doc.trim_end_matches('.')))
        }
    }
}

/// All names in a type.
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
fn said(ty: &Type, types: &Types, from: &Path) -> String {
    let Some((name, arguments)) = split(ty) else { return "value".to_owned() };
    let inner =
        |at: usize| arguments.get(at).map_or("value".to_owned(), |ty| said(ty, types, from));
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
            Some(Described { shape: Shape::Alias(ty), file, .. }) => said(ty, types, file),
            Some(found) if found.names().is_some() => found.names().unwrap_or_default().join(", "),
            Some(_) => {
                let link = format!("[{name}](#{})", name.to_lowercase());
                if arguments.is_empty() { link } else { format!("{link} of {}", inner(0)) }
            }
            // A type's parameter.
            None if name.len() == 1 => "what it is of".to_owned(),
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
        // A type's parameter, or a set of names that is not known here.
        _ => return "string".to_owned(),
    };
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
