//! A model: a graph, its functions, and what the file says about itself.

use crate::attr::{Attr, AttrKind, Attrs, Name};
use crate::diag::Diagnostics;
use crate::graph::Graph;
use crate::stored::Store;
use std::fmt;
use std::sync::Arc;

/// A graph with all that an ONNX file says around it.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The graph that is run.
    pub graph: Graph,
    /// Model-local functions in the order of the file, whether called or not.
    pub functions: Vec<Arc<Function>>,
    /// Operator sets as the file imports them: domain (empty for `ai.onnx`) and version.
    pub opsets: Vec<(Name, u64)>,
    /// `ModelProto.ir_version`.
    pub ir_version: u64,
    /// Name of the tool that made the file.
    pub producer_name: Name,
    /// Version of the tool that made the file.
    pub producer_version: Name,
    /// Namespace of the model.
    pub domain: Name,
    /// Version of the model.
    pub model_version: i64,
    /// Documentation.
    pub doc: Name,
    /// Key and value pairs.
    pub metadata: Vec<(Name, Name)>,
    /// What the file holds beyond all this, a line each: it is lost when the model is written. Writers refuse while
    /// there is any; who accepts the loss clears the list.
    pub not_carried: Vec<Name>,
    /// The files that stored weights lie in.
    pub stores: Vec<Arc<dyn Store>>,
}

impl Model {
    /// A model around `graph`, at the default operator set.
    pub fn new(graph: Graph) -> Self {
        Self {
            graph,
            opsets: vec![(Name::default(), crate::op::DEFAULT_OPSET)],
            ir_version: crate::op::DEFAULT_IR_VERSION,
            ..Self::default()
        }
    }

    /// Errors when a file that weights are stored in is not what the model was read with.
    ///
    /// To be asked after weights were read and before what came of them is handed out: a weight that cannot be read
    /// any more reads as zeros.
    pub fn intact(&self) -> Result<(), Diagnostics> {
        let broken = Diagnostics(self.stores.iter().filter_map(|store| store.broken()).collect());
        if broken.has_errors() { Err(broken) } else { Ok(()) }
    }

    /// The version of the operator set `domain` that the file imports.
    pub fn opset(&self, domain: &str) -> Option<u64> {
        self.opsets.iter().find(|(name, _)| name == domain).map(|(_, version)| *version)
    }
}

/// A function: a named subgraph with formal attributes. A fused operator is a function whose body says what it means.
#[derive(Clone, Debug)]
pub struct Function {
    /// Operator-set domain, not empty.
    pub domain: Name,
    /// Operator type.
    pub name: Name,
    /// Overload; mostly empty.
    pub overload: Name,
    /// Formal attributes; without a default, one is optional: references to it are left out when a call leaves it out.
    pub attrs: Vec<FormalAttr>,
    /// What it means: inputs and outputs are the function's, attributes may refer to the formal ones.
    pub body: Graph,
    /// Operator sets that the body imports, as in the file.
    pub opsets: Vec<(Name, u64)>,
    /// Documentation.
    pub doc: Name,
    /// Key and value pairs.
    pub metadata: Vec<(Name, Name)>,
}

/// A formal attribute of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct FormalAttr {
    /// Its name.
    pub name: Name,
    /// Its kind, as far as the body tells.
    pub kind: Option<AttrKind>,
    /// Its default.
    pub default: Option<Attr>,
}

impl Function {
    /// Domain, name and overload: what makes it one function.
    pub fn id(&self) -> (&str, &str, &str) {
        (&self.domain, &self.name, &self.overload)
    }

    /// `given` in the order of the formal attributes with defaults filled; unknown names are the error.
    pub fn complete(&self, given: Attrs) -> Result<Attrs, Vec<Name>> {
        let unknown: Vec<Name> = given
            .iter()
            .map(|(name, _)| name.clone())
            .filter(|name| !self.attrs.iter().any(|formal| formal.name == *name))
            .collect();
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let value = |formal: &FormalAttr| given.get(&formal.name).cloned().or_else(|| formal.default.clone());
        Ok(self.attrs.iter().filter_map(|formal| Some((formal.name.clone(), value(formal)?))).collect())
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.domain, self.name)
    }
}
