// SPDX-License-Identifier: GPL-2.0
/*
 * The firmware's checks of a guest's message. There is no AES-GCM: the payload
 * is ignored and the answer's is zeros, but header and sequence numbers are
 * checked as in the SEV-SNP firmware ABI (56860).
 *
 * Only the PSP thread runs any of this, so the contexts need no lock.
 */
#include "snpsim.h"

#include <linux/build_bug.h>
#include <linux/hash.h>
#include <linux/hashtable.h>
#include <linux/mm.h>
#include <linux/psp-sev.h>
#include <linux/slab.h>
#include <linux/string.h>

#define NR_VMPCKS		4
#define ALGO_AES_256_GCM	1
#define HEADER_VERSION		1
#define LAST_REQUEST		17	/* TSC_INFO_REQ */
#define ANSWER_SIZE		1024

/* Status codes that some kernels' psp-sev.h lacks. */
#define STATUS_INVALID_PARAM	0x16
#define STATUS_RESOURCE_LIMIT	0x17
#define STATUS_AEAD_OFLOW	0x1d

struct message {
	u8 authtag[32];
	u64 seqno;
	u64 rsvd1;
	u8 algo;
	u8 hdr_version;
	u16 hdr_sz;
	u8 type;
	u8 version;
	u16 msg_sz;
	u32 rsvd2;
	u8 vmpck;
	u8 rsvd3[35];
	u8 payload[PAGE_SIZE - 0x60];
} __packed;

static_assert(sizeof(struct message) == PAGE_SIZE);
static_assert(offsetof(struct message, vmpck) == 0x3c);

/* The firmware's guest context, found by its page's address. */
struct context {
	struct hlist_node node;
	u64 gctx;
	u64 count[NR_VMPCKS];	/* messages so far, both ways */
	unsigned int pages;	/* measured by its launch */
};

static DEFINE_HASHTABLE(contexts, 10);

static struct context *context_find(u64 gctx)
{
	struct context *c;

	hash_for_each_possible(contexts, c, node, gctx)
		if (c->gctx == gctx)
			return c;
	return NULL;
}

static struct context *context_get(u64 gctx)
{
	struct context *c = context_find(gctx);

	if (c)
		return c;
	c = kzalloc(sizeof(*c), GFP_KERNEL);
	if (!c)
		return NULL;
	c->gctx = gctx;
	hash_add(contexts, &c->node, gctx);
	return c;
}

int context_create(u64 gctx)
{
	context_destroy(gctx);
	return context_get(gctx) ? 0 : STATUS_RESOURCE_LIMIT;
}

void context_destroy(u64 gctx)
{
	struct context *c = context_find(gctx);

	if (!c)
		return;
	hash_del(&c->node);
	kfree(c);
}

/* How many pages the launch has measured, for the caller to count; NULL: no such guest. */
unsigned int *context_pages(u64 gctx)
{
	struct context *c = context_find(gctx);

	return c ? &c->pages : NULL;
}

/* The firmware restarts and knows no guest. */
void firmware_reset(void)
{
	struct hlist_node *next;
	struct context *c;
	int bucket;

	hash_for_each_safe(contexts, bucket, next, c, node) {
		hash_del(&c->node);
		kfree(c);
	}
}

u8 message_type(const void *request)
{
	return ((const struct message *)request)->type;
}

u16 message_status(u64 gctx, const void *request, void *response)
{
	const struct message *req = request;
	struct message *rsp = response;
	struct context *c;

	if (req->algo != ALGO_AES_256_GCM || req->hdr_version != HEADER_VERSION ||
	    req->hdr_sz != offsetof(struct message, payload) || req->vmpck >= NR_VMPCKS)
		return STATUS_INVALID_PARAM;
	/* requests have odd type numbers, their answers the even ones after them */
	if (!(req->type & 1) || req->type > LAST_REQUEST)
		return STATUS_INVALID_PARAM;

	c = context_get(gctx);
	if (!c)
		return STATUS_RESOURCE_LIMIT;
	if (req->seqno != c->count[req->vmpck] + 1)
		return STATUS_AEAD_OFLOW;
	c->count[req->vmpck] += 2;

	memset(rsp, 0, offsetof(struct message, payload) + ANSWER_SIZE);
	memset(rsp->authtag, 0xa5, 16);
	rsp->seqno = c->count[req->vmpck];
	rsp->algo = ALGO_AES_256_GCM;
	rsp->hdr_version = HEADER_VERSION;
	rsp->hdr_sz = offsetof(struct message, payload);
	rsp->type = req->type + 1;
	rsp->version = 1;
	rsp->msg_sz = ANSWER_SIZE;
	rsp->vmpck = req->vmpck;
	return 0;
}
