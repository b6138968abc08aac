//! Carries out what a session asks for: frames into the buffer that leaves in one write, actions into flight,
//! memberships away. Which of it happens is the session's decision.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::super::scratch::Scratch;
use super::{Connection, TIMED_ONE_IN};
use crate::clock::Now;
use crate::protocol::close_code::CloseCode;
use crate::protocol::framing;
use crate::protocol::server_frame::ServerFrame;
use crate::session::Output;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn carry_out(&mut self, output: Output, now: Now, scratch: &mut Scratch) {
        let frames = &mut scratch.frames;
        match output {
            Output::Forward(run, after) => {
                let ready = run.frames_after(after);
                frames.extend_from_slice(ready);
                let edge = &self.services.metrics.edge;
                edge.delivered.inc_by(run.last() - after.max(run.first() - 1));
                if (run.last() + self.timed) / TIMED_ONE_IN > (after.max(run.first() - 1) + self.timed) / TIMED_ONE_IN {
                    let late = now.wall_ms.saturating_sub(run.published_ms());
                    edge.delivery.0.observe(Duration::from_millis(late).as_secs_f64());
                }
            }
            Output::Ephemeral(frame) => frames.extend_from_slice(&frame),
            Output::Reply(frame) => {
                let edge = &self.services.metrics.edge;
                match &frame {
                    ServerFrame::Error { code, .. } => {
                        edge.errors.get_or_create(&[("code", code.as_str())]).inc();
                    }
                    ServerFrame::Joined { recovered: false, .. } => {
                        edge.not_recovered.inc();
                    }
                    ServerFrame::Gap { .. } => {
                        edge.gaps_told.inc();
                    }
                    _ => {}
                }
                framing::put_text(frames, &frame.encode());
            }
            Output::Ping => framing::put_ping(frames),
            Output::Start(op, action) => self.start(op, action),
            Output::Signal { log, frame, kind } => self.services.backplane.broadcast(&log, frame, kind),
            Output::Leave { slot, asked } => {
                if let Ok(index) = self.memberships.binary_search_by_key(&slot, |(slot, _)| *slot) {
                    let (_, membership) = self.memberships.remove(index);
                    if asked {
                        membership.leave_now();
                    }
                }
            }
            Output::Close(code) => {
                self.begin_closing(code.reason(), now, self.broken);
                if code == CloseCode::Slow {
                    self.give_up_backlog(scratch);
                }
                framing::put_close(&mut scratch.frames, Some((code.number(), code.reason())));
            }
        }
    }
}
