//! `jetstream._core`: the Python face of the Rust core. Declarations only.

use pyo3::prelude::*;

mod agreement;
mod answer;
mod asgi;
mod call;
mod caller;
mod channel;
pub mod codec;
mod connection;
mod coroutine;
mod deadline;
mod dispatch;
mod endpoint;
mod errors;
mod extension;
mod faults;
mod feed;
mod frames;
mod handling;
mod identity;
mod inbox;
mod inlet;
mod leaving;
mod lossy;
mod outlet;
mod parking;
mod reply;
mod service;
mod settings;
mod shared;
mod slice;
mod subscription;
mod tls;
mod turn;
mod visited;
mod waiting;

/// The compiled core of JetStream for Python.
#[pymodule]
mod _core {
    use std::sync::atomic::Ordering;

    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    use crate::coroutine::install_slots;

    #[pymodule_export]
    use crate::asgi::{Exchange, Waiting};
    #[pymodule_export]
    use crate::call::Call;
    #[pymodule_export]
    use crate::channel::{ChannelMethod, Lane};
    #[pymodule_export]
    use crate::codec::module as codec;
    #[pymodule_export]
    use crate::connection::Connection;
    #[pymodule_export]
    use crate::deadline::current_deadline;
    #[pymodule_export]
    use crate::endpoint::Endpoint;
    #[pymodule_export]
    use crate::feed::FeedOutlet;
    #[pymodule_export]
    use crate::frames::{read_request, write_fault, write_reply};
    #[pymodule_export]
    use crate::handling::Handling;
    #[pymodule_export]
    use crate::identity::parse_certificate;
    #[pymodule_export]
    use crate::inbox::NextItem;
    #[pymodule_export]
    use crate::inlet::Inlet;
    #[pymodule_export]
    use crate::outlet::Outlet;
    #[pymodule_export]
    use crate::reply::Reply;
    #[pymodule_export]
    use crate::service::{ServiceMethod, ServiceTable};
    #[pymodule_export]
    use crate::subscription::{Ready, Subscription};
    #[pymodule_export]
    use crate::tls::{ClientTls, ServerTls};

    /// Objects of this module that are alive, by kind: what leak tests look at.
    #[pyfunction]
    fn live_objects(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let counts = PyDict::new(py);
        for (name, counter) in [
            ("connections", &crate::shared::LIVE_CONNECTIONS),
            ("lanes", &crate::shared::LIVE_LANES),
            ("calls", &crate::shared::LIVE_CALLS),
        ] {
            counts.set_item(name, counter.load(Ordering::Relaxed))?;
        }
        Ok(counts)
    }

    #[pyfunction]
    fn _after_fork() {
        crate::shared::after_fork();
    }

    #[pyfunction]
    fn _leave(py: Python<'_>) -> PyResult<()> {
        crate::leaving::leave(py)
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        install_slots::<Call>(py);
        install_slots::<NextItem>(py);
        install_slots::<Waiting>(py);
        install_slots::<Ready>(py);
        // What asyncio takes for a coroutine is what is registered as one.
        let coroutine = py.import("collections.abc")?.getattr("Coroutine")?;
        coroutine.call_method1("register", (py.get_type::<Call>(),))?;
        coroutine.call_method1("register", (py.get_type::<Handling>(),))?;
        coroutine.call_method1("register", (py.get_type::<Waiting>(),))?;
        coroutine.call_method1("register", (py.get_type::<Ready>(),))?;
        let hook = PyDict::new(py);
        hook.set_item("after_in_child", module.getattr("_after_fork")?)?;
        py.import("os")?.call_method("register_at_fork", (), Some(&hook))?;
        py.import("atexit")?.call_method1("register", (module.getattr("_leave")?,))?;
        Ok(())
    }
}
