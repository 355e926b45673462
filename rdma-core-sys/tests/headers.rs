//! Compares the types and constants of this crate with the installed `infiniband/verbs.h`.
//!
//! Needs the headers and two C compilers (Debian: libibverbs-dev, gcc, gcc-aarch64-linux-gnu), and fails without them.
//! Everything is checked by `_Static_assert`, so that nothing of the other architecture has to run.
#![cfg(target_os = "linux")]

mod root {
    mod headers {
        use std::fmt::Write as _;
        use std::mem::offset_of;
        use std::process::Command;

        use rdma_core_sys::abi;

        /// One struct: its C name, its size here, and its members with offset and size. Where it has a member
        /// `mutex`, what follows is shifted on an architecture whose `pthread_mutex_t` has another size.
        struct Layout {
            name: &'static str,
            size: usize,
            /// The offset after which everything depends on the architecture.
            mutex: Option<usize>,
            members: Vec<(&'static str, usize)>,
        }

        macro_rules! layout {
            ($kind:literal $name:ident { $($member:ident),* $(,)? }) => {
                layout!(@ None, $kind, $name, $($member),*)
            };
            (mutex $kind:literal $name:ident { $($member:ident),* $(,)? }) => {
                layout!(@ Some(offset_of!(abi::$name, mutex)), $kind, $name, $($member),*)
            };
            (@ $mutex:expr, $kind:literal, $name:ident, $($member:ident),*) => {
                Layout {
                    name: concat!($kind, " ", stringify!($name)),
                    size: size_of::<abi::$name>(),
                    mutex: $mutex,
                    members: vec![$((
                        stringify!($member),
                        offset_of!(abi::$name, $member),
                    )),*],
                }
            };
        }

        fn layouts() -> Vec<Layout> {
            vec![
                layout!("union" ibv_gid { raw, global }),
                layout!("struct" ibv_gid_entry { gid, gid_index, port_num, gid_type, ndev_ifindex }),
                layout!("struct" ibv_device {
                    _ops, node_type, transport_type, name, dev_name, dev_path, ibdev_path
                }),
                layout!("struct" ibv_device_attr {
                    fw_ver, node_guid, sys_image_guid, max_mr_size, page_size_cap, vendor_id, vendor_part_id, hw_ver,
                    max_qp, max_qp_wr, device_cap_flags, max_sge, max_sge_rd, max_cq, max_cqe, max_mr, max_pd,
                    max_qp_rd_atom, max_ee_rd_atom, max_res_rd_atom, max_qp_init_rd_atom, max_ee_init_rd_atom,
                    atomic_cap, max_ee, max_rdd, max_mw, max_raw_ipv6_qp, max_raw_ethy_qp, max_mcast_grp,
                    max_mcast_qp_attach, max_total_mcast_qp_attach, max_ah, max_fmr, max_map_per_fmr, max_srq,
                    max_srq_wr, max_srq_sge, max_pkeys, local_ca_ack_delay, phys_port_cnt
                }),
                layout!("struct" ibv_odp_caps { general_caps, per_transport_caps }),
                layout!("struct" ibv_device_attr_ex {
                    orig_attr, comp_mask, odp_caps, completion_timestamp_mask, hca_core_clock, device_cap_flags_ex,
                    tso_caps, rss_caps, max_wq_type_rq, packet_pacing_caps, raw_packet_caps, tm_caps, cq_mod_caps,
                    max_dm_size, pci_atomic_caps, xrc_odp_caps, phys_port_cnt_ex
                }),
                layout!("struct" ibv_query_device_ex_input { comp_mask }),
                layout!("struct" ibv_port_attr {
                    state, max_mtu, active_mtu, gid_tbl_len, port_cap_flags, max_msg_sz, bad_pkey_cntr,
                    qkey_viol_cntr, pkey_tbl_len, lid, sm_lid, lmc, max_vl_num, sm_sl, subnet_timeout,
                    init_type_reply, active_width, active_speed, phys_state, link_layer, flags, port_cap_flags2
                }),
                layout!("struct" ibv_async_event { element, event_type }),
                layout!("struct" ibv_wc {
                    wr_id, status, opcode, vendor_err, byte_len, imm_data, qp_num, src_qp, wc_flags, pkey_index,
                    slid, sl, dlid_path_bits
                }),
                layout!("struct" ibv_pd { context, handle }),
                layout!("struct" ibv_mr { context, pd, addr, length, handle, lkey, rkey }),
                layout!("struct" ibv_global_route { dgid, flow_label, sgid_index, hop_limit, traffic_class }),
                layout!("struct" ibv_ah_attr {
                    grh, dlid, sl, src_path_bits, static_rate, is_global, port_num
                }),
                layout!("struct" ibv_ah { context, pd, handle }),
                layout!("struct" ibv_qp_cap {
                    max_send_wr, max_recv_wr, max_send_sge, max_recv_sge, max_inline_data
                }),
                layout!("struct" ibv_qp_init_attr {
                    qp_context, send_cq, recv_cq, srq, cap, qp_type, sq_sig_all
                }),
                layout!("struct" ibv_qp_attr {
                    qp_state, cur_qp_state, path_mtu, path_mig_state, qkey, rq_psn, sq_psn, dest_qp_num,
                    qp_access_flags, cap, ah_attr, alt_ah_attr, pkey_index, alt_pkey_index, en_sqd_async_notify,
                    sq_draining, max_rd_atomic, max_dest_rd_atomic, min_rnr_timer, port_num, timeout, retry_cnt,
                    rnr_retry, alt_port_num, alt_timeout, rate_limit
                }),
                layout!("struct" ibv_sge { addr, length, lkey }),
                layout!("struct" ibv_send_wr {
                    wr_id, next, sg_list, num_sge, opcode, send_flags, imm_data, wr, qp_type, bind_mw
                }),
                layout!("struct" ibv_recv_wr { wr_id, next, sg_list, num_sge }),
                layout!(mutex "struct" ibv_qp {
                    context, qp_context, pd, send_cq, recv_cq, srq, handle, qp_num, state, qp_type, mutex, cond,
                    events_completed
                }),
                layout!("struct" ibv_comp_channel { context, fd, refcnt }),
                layout!(mutex "struct" ibv_cq {
                    context, channel, cq_context, handle, cqe, mutex, cond, comp_events_completed,
                    async_events_completed
                }),
                layout!("struct" ibv_poll_cq_attr { comp_mask }),
                layout!(mutex "struct" ibv_cq_ex {
                    context, channel, cq_context, handle, cqe, mutex, cond, comp_events_completed,
                    async_events_completed, comp_mask, status, wr_id, start_poll, next_poll, end_poll, read_opcode,
                    read_vendor_err, read_byte_len, read_imm_data, read_qp_num, read_src_qp, read_wc_flags, read_slid,
                    read_sl, read_dlid_path_bits, read_completion_ts, read_cvlan, read_flow_tag, read_tm_info,
                    read_completion_wallclock_ns
                }),
                layout!("struct" ibv_cq_init_attr_ex {
                    cqe, cq_context, channel, comp_vector, wc_flags, comp_mask, flags, parent_domain
                }),
                layout!("struct" ibv_values_ex { comp_mask, raw_clock }),
                layout!("struct" ibv_context_ops {
                    _compat_query_device, _compat_query_port, poll_cq, req_notify_cq, post_srq_recv, post_send,
                    post_recv, _compat_async_event
                }),
                layout!(mutex "struct" ibv_context {
                    device, ops, cmd_fd, async_fd, num_comp_vectors, mutex, abi_compat
                }),
                Layout {
                    mutex: Some(
                        offset_of!(abi::verbs_context, context)
                            + offset_of!(abi::ibv_context, mutex),
                    ),
                    ..layout!("struct" verbs_context {
                        query_port, advise_mr, alloc_null_mr, read_counters, attach_counters_point_flow,
                        create_counters, destroy_counters, reg_dm_mr, alloc_dm, free_dm, modify_flow_action_esp,
                        destroy_flow_action, create_flow_action_esp, modify_qp_rate_limit, alloc_parent_domain,
                        dealloc_td, alloc_td, modify_cq, post_srq_ops, destroy_rwq_ind_table, create_rwq_ind_table,
                        destroy_wq, modify_wq, create_wq, query_rt_values, create_cq_ex, query_device_ex,
                        ibv_destroy_flow, ABI_placeholder2, ibv_create_flow, ABI_placeholder1, open_qp, create_qp_ex,
                        get_srq_num, create_srq_ex, open_xrcd, close_xrcd, _ABI_placeholder3, sz, context
                    })
                },
            ]
        }

        macro_rules! constants {
            ($($name:ident),* $(,)?) => {
                vec![$((stringify!($name), i128::try_from(abi::$name).expect("a constant fits"))),*]
            };
        }

        fn constants() -> Vec<(&'static str, i128)> {
            constants![
                IBV_GID_TYPE_IB,
                IBV_GID_TYPE_ROCE_V1,
                IBV_GID_TYPE_ROCE_V2,
                IBV_TRANSPORT_IB,
                IBV_TRANSPORT_IWARP,
                IBV_PORT_NOP,
                IBV_PORT_DOWN,
                IBV_PORT_INIT,
                IBV_PORT_ARMED,
                IBV_PORT_ACTIVE,
                IBV_PORT_ACTIVE_DEFER,
                IBV_LINK_LAYER_UNSPECIFIED,
                IBV_LINK_LAYER_INFINIBAND,
                IBV_LINK_LAYER_ETHERNET,
                IBV_EVENT_CQ_ERR,
                IBV_EVENT_QP_FATAL,
                IBV_EVENT_QP_REQ_ERR,
                IBV_EVENT_QP_ACCESS_ERR,
                IBV_EVENT_DEVICE_FATAL,
                IBV_EVENT_PORT_ACTIVE,
                IBV_EVENT_PORT_ERR,
                IBV_EVENT_GID_CHANGE,
                IBV_WC_SUCCESS,
                IBV_WC_WR_FLUSH_ERR,
                IBV_WC_SEND,
                IBV_WC_RECV,
                IBV_WC_GRH,
                IBV_WC_EX_WITH_BYTE_LEN,
                IBV_WC_EX_WITH_QP_NUM,
                IBV_WC_EX_WITH_SRC_QP,
                IBV_WC_EX_WITH_COMPLETION_TIMESTAMP,
                IBV_WC_EX_WITH_COMPLETION_TIMESTAMP_WALLCLOCK,
                IBV_ACCESS_LOCAL_WRITE,
                IBV_QPT_RC,
                IBV_QPT_UD,
                IBV_MTU_256,
                IBV_QP_ACCESS_FLAGS,
                IBV_QP_AV,
                IBV_QP_PATH_MTU,
                IBV_QP_RQ_PSN,
                IBV_QP_MIN_RNR_TIMER,
                IBV_QP_MAX_DEST_RD_ATOMIC,
                IBV_QP_DEST_QPN,
                IBV_QP_STATE,
                IBV_QP_CUR_STATE,
                IBV_QP_PKEY_INDEX,
                IBV_QP_PORT,
                IBV_QP_QKEY,
                IBV_QP_SQ_PSN,
                IBV_QPS_RESET,
                IBV_QPS_INIT,
                IBV_QPS_RTR,
                IBV_QPS_RTS,
                IBV_QPS_SQD,
                IBV_QPS_SQE,
                IBV_QPS_ERR,
                IBV_WR_SEND,
                IBV_SEND_SIGNALED,
                IBV_SEND_INLINE,
                IBV_VALUES_MASK_RAW_CLOCK,
                IBV_SYSFS_NAME_MAX,
                IBV_SYSFS_PATH_MAX,
            ]
        }

        /// Integers stand for the header's enumerations, so those must have their size.
        const ENUMERATIONS: &[&str] = &[
            "ibv_gid_type",
            "ibv_node_type",
            "ibv_transport_type",
            "ibv_atomic_cap",
            "ibv_port_state",
            "ibv_mtu",
            "ibv_event_type",
            "ibv_wc_status",
            "ibv_wc_opcode",
            "ibv_qp_type",
            "ibv_qp_state",
            "ibv_mig_state",
            "ibv_wr_opcode",
        ];

        /// Size of `pthread_mutex_t` in glibc (`bits/pthreadtypes-arch.h`).
        fn mutex_size(architecture: &str) -> usize {
            match architecture {
                "x86_64" => 40,
                "aarch64" => 48,
                other => panic!("the layout on {other} is not known"),
            }
        }

        /// The counterpart of `value` on another architecture, where `pthread_mutex_t` has another size.
        fn shifted(value: usize, after: Option<usize>, architecture: &str) -> usize {
            match after {
                Some(mutex) if value > mutex => {
                    value + mutex_size(architecture) - size_of::<libc::pthread_mutex_t>()
                }
                _ => value,
            }
        }

        fn program(architecture: &str) -> String {
            let mut text = String::from("#include <stddef.h>\n#include <infiniband/verbs.h>\n");
            let mut check = |condition: String| {
                writeln!(text, "_Static_assert({condition}, \"{condition}\");")
                    .expect("a string takes all");
            };
            check(format!(
                "sizeof(pthread_mutex_t) == {}",
                mutex_size(architecture)
            ));
            for layout in layouts() {
                let name = layout.name;
                let size = shifted(layout.size, layout.mutex, architecture);
                check(format!("sizeof({name}) == {size}"));
                for (member, offset) in layout.members {
                    let offset = shifted(offset, layout.mutex, architecture);
                    check(format!("offsetof({name}, {member}) == {offset}"));
                }
            }
            check("sizeof(((struct ibv_send_wr *)0)->wr) == 32".to_owned());
            check(format!(
                "offsetof(struct ibv_send_wr, wr.ud.remote_qpn) == {}",
                offset_of!(abi::ibv_send_wr, wr) + offset_of!(abi::ibv_send_wr_ud, remote_qpn)
            ));
            check(format!(
                "offsetof(struct ibv_send_wr, wr.ud.remote_qkey) == {}",
                offset_of!(abi::ibv_send_wr, wr) + offset_of!(abi::ibv_send_wr_ud, remote_qkey)
            ));
            for (name, value) in constants() {
                check(format!("{name} == {value}"));
            }
            for name in ENUMERATIONS {
                check(format!("sizeof(enum {name}) == 4"));
            }
            text
        }

        /// Compiles the checks; the compiler's complaints are the test's message.
        fn compile(compiler: &str, text: &str) -> Result<(), String> {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let file = folder.path().join("checks.c");
            std::fs::write(&file, text).expect("the program is written");
            let output = Command::new(compiler)
                // Debian's infiniband headers are the same for all architectures, and a cross compiler does not look
                // into /usr/include by itself.
                .args(["-std=gnu11", "-fsyntax-only", "-idirafter", "/usr/include"])
                .arg(&file)
                .output()
                .map_err(|error| format!("cannot run {compiler}: {error} (install it)"))?;
            if output.status.success() {
                Ok(())
            } else {
                Err(String::from_utf8_lossy(&output.stderr).into_owned())
            }
        }

        /// The compiler for an architecture. `cc` says itself what it compiles for: under QEMU's user emulation this
        /// test's own architecture is another one than its machine's.
        fn compiler(architecture: &str) -> String {
            let machine = Command::new("cc").arg("-dumpmachine").output();
            let machine = machine.expect("cc runs (Debian: gcc)").stdout;
            if machine.starts_with(architecture.as_bytes()) {
                "cc".to_owned()
            } else {
                format!("{architecture}-linux-gnu-gcc")
            }
        }

        fn agrees(architecture: &str) {
            if let Err(complaints) = compile(&compiler(architecture), &program(architecture)) {
                panic!("{complaints}");
            }
        }

        #[test]
        fn agree_on_x86_64() {
            agrees("x86_64");
        }

        #[test]
        fn agree_on_aarch64() {
            agrees("aarch64");
        }

        #[test]
        fn a_wrong_offset_is_noticed() {
            let text = program(std::env::consts::ARCH).replace(
                "offsetof(struct ibv_wc, src_qp) == 32",
                "offsetof(struct ibv_wc, src_qp) == 36",
            );
            let complaints =
                compile(&compiler(std::env::consts::ARCH), &text).expect_err("the offset is wrong");
            assert!(complaints.contains("src_qp"), "{complaints}");
            assert!(!complaints.contains("pthread_mutex_t"), "{complaints}");
        }
    }
}
