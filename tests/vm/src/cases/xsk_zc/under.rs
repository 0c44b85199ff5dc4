// SPDX-License-Identifier: GPL-2.0

//! Tests of everything that a port does with frames, with a zero-copy socket on every queue of both
//! ports: whatever becomes of a frame, it makes no difference that it arrived in a buffer of user
//! space. Only what programs redirect to a socket goes to one.

use crate::harness::Case;

/// Runs these tests once more, as `xsk_zc::under_sockets::NAME`.
macro_rules! under_sockets {
    ($($name:literal),+ $(,)?) => {
        $(inventory::submit! {
            Case::under_sockets(concat!("xsk_zc::under_sockets::", $name), $name)
        })+
    };
}

under_sockets! {
    "adjust::head_grows",
    "adjust::head_shrinks",
    "adjust::metadata_ends_with_a_redirect_to_a_port",
    "adjust::metadata_ends_with_tx",
    "adjust::metadata_goes_along_to_a_cpu",
    "adjust::metadata_reaches_the_skb",
    "adjust::short_frame_is_padded_on_tx",
    "adjust::tail_shrinks",
    "checksum::frames_in_several_buffers",
    "checksum::tcp",
    "checksum::udp",
    "conserve::mixed_verdicts_both_ways",
    "frags::drop",
    "frags::mixed",
    "frags::no_program",
    "frags::pass",
    "frags::redirect_to_cpu",
    "frags::redirect_to_port",
    "frags::tx",
    "frags::veth_and_back",
    "frags_prog::adjust_head",
    "frags_prog::load_and_store_bytes",
    "hell::any_frames",
    "hell::programs_do_anything",
    "hints::frame_in_several_buffers",
    "hints::hash_and_its_type",
    "hints::timestamp",
    "hints::vlan_tag",
    "hwtstamp::receive",
    "hwtstamp::same_as_that_of_a_program",
    "inflight::programs_come_and_go",
    "mtu::every_length",
    "pause::one_full_ring_loses_nothing",
    "redirect::back_into_the_same_port",
    "redirect::broadcast",
    "redirect::by_devmap",
    "redirect::by_ifindex",
    "redirect::cpumap_program",
    "redirect::cpumap_program_redirects",
    "redirect::devmap_program",
    "redirect::from_veth",
    "redirect::veth_and_back",
    "rings::a_flow_stays_in_its_ring",
    "swap::under_traffic",
    "tso::streams",
    "verdict::aborted",
    "verdict::drop",
    "verdict::no_program",
    "verdict::pass",
    "verdict::redirect_fails",
    "verdict::redirect_to_cpu",
    "verdict::redirect_to_device",
    "verdict::short_frames_are_padded",
    "verdict::tx",
    "verdict::tx_into_full_ring",
    "verdict::unknown",
    "vlan::devices_with_all_settings",
    "vlan::frames_in_several_buffers",
    "xmit::batches_over_several_rings",
}
