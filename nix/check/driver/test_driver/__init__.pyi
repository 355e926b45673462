# Types of the NixOS test driver (nixos/lib/test-driver/src/test_driver of 2026), as far as testScripts use them.
