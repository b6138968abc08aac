//! The server API from outside: whole instances, real sockets. Each file is one thing that a back end does with it.

mod copy;
mod gate;
mod input;
mod lists;
mod orders;
mod publish;
mod rig;
