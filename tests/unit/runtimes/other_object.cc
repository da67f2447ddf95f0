// A shared object that is no application.
extern "C" __attribute__((visibility("default"))) int penstock_unrelated();
int penstock_unrelated() { return 0; }
