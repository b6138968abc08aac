//! Scenarios on a real cluster: the operator as the chart installs it, chats behind a real ingress controller. Run by
//! `tests/run --cluster`, one after the other, since the machine is small.

mod children;
mod install;
mod lifecycle;
mod operator;
mod policies;
mod redis;
mod refuse;
mod rollout;
mod samples;
mod scale;
