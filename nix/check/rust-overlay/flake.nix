{
  description = "Stand-in for rust-overlay: see ../README.md";
  outputs = _: { overlays.default = import ./.; };
}
