check "the responder ends" stop respond
check "the server of its name ends" stop httpd
